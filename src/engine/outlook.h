/* SPDX-License-Identifier: Apache-2.0 */
/* How full the KV cache is going to be: sequences grow a page at a time until they end and give all
 * back, and the cache must hold them at the worst moment between now and then. Pure integers.
 * Thread: engine. */
#ifndef ANT_ENGINE_OUTLOOK_H
#define ANT_ENGINE_OUTLOOK_H

struct ant_outlook;

struct ant_outlook *ant_outlook_open(int max_pages); /* of one sequence */
void ant_outlook_close(struct ant_outlook *outlook);

void ant_outlook_clear(struct ant_outlook *outlook);
/* A sequence that has `pages` and will take `more` before it ends: none if it is negative, for one
 * whose guesses have pages that it will not need. */
void ant_outlook_add(struct ant_outlook *outlook, int pages, int more);
/* Pages at the worst moment, if all grow at the same pace; clear and add began it. */
int ant_outlook_peak(const struct ant_outlook *outlook);

#endif
