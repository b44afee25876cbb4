/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/watch.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"

enum { ASK, ANSWER, VERDICT, POST };
enum {
    MAX_WAITING = 32, /* peers named in one answer */
    MAX_NAMED = 8,    /* ranks named in an error */
};

/* What goes over the wire. All ranks run the same binary, so the struct is its own format. */
struct note {
    uint32_t kind;
    uint32_t
        group; /* ASK, VERDICT, POST: about it; ANSWER: the one the sender is waiting in, or 0 */
    uint32_t serial; /* ASK, ANSWER: which question */
    int32_t from;    /* world rank */
    int32_t code;    /* VERDICT */
    int32_t n;       /* ANSWER: peers waited for; POST: bytes of text */
    int32_t waiting[MAX_WAITING];
    char text[sizeof(((struct ant_error *)0)->text)];
};
_Static_assert(sizeof(struct note) <= ANT_NOTE_BYTES, "a note must fit");

struct ant_verdict {
    struct ant_verdict *next;
    uint32_t group;
    int code;
    struct ant_error text;
};

/* Someone who was asked. */
struct witness {
    int rank;
    bool has_answered;
    bool is_here; /* waits in the same group */
};

/* A question under way: who is missing from `watch`'s group? */
struct inquiry {
    struct ant_watch *watch;
    uint32_t serial;
    struct witness *witnesses;
    int n, capacity, answers;
};

/* How long a rank that is well may take to answer. */
static const double answer_seconds = 1.0;

/* ---- notes ----------------------------------------------------------------------------------- */

static int my_rank(const struct ant_watch *watch)
{
    return watch->ranks[watch->me];
}

static void send_note(struct ant_watch *watch, int to, struct note *note)
{
    note->from = my_rank(watch);
    ant_transport_send_note(watch->transport, to, note, sizeof(*note));
}

static void ask(struct inquiry *inquiry, int rank)
{
    struct note note = {.kind = ASK, .group = inquiry->watch->id, .serial = inquiry->serial};

    for (int i = 0; i < inquiry->n; i++)
        if (inquiry->witnesses[i].rank == rank)
            return;
    if (rank == my_rank(inquiry->watch))
        return;
    if (inquiry->n == inquiry->capacity) {
        inquiry->capacity = inquiry->capacity ? 2 * inquiry->capacity : 16;
        inquiry->witnesses = ant_xrealloc(inquiry->witnesses, (size_t)inquiry->capacity,
                                          sizeof(*inquiry->witnesses));
    }
    inquiry->witnesses[inquiry->n++] = (struct witness){.rank = rank};
    send_note(inquiry->watch, rank, &note);
}

static bool is_member(const struct ant_watch *watch, int rank)
{
    for (int i = 0; i < watch->n; i++)
        if (watch->ranks[i] == rank)
            return true;
    return false;
}

/* Somebody asks whom we wait for. `watch` is the group we are in a call of. */
static void answer(struct ant_watch *watch, const struct note *question)
{
    struct note note = {.kind = ANSWER, .serial = question->serial};

    if (watch->waiting) {
        note.group = watch->id;
        note.n = ant_flight_peers(watch->waiting, note.waiting, MAX_WAITING);
    }
    send_note(watch, question->from, &note);
}

static void take_answer(struct inquiry *inquiry, const struct note *note)
{
    if (note->serial != inquiry->serial || note->n < 0 || note->n > MAX_WAITING)
        return;
    for (int i = 0; i < inquiry->n; i++) {
        struct witness *witness = &inquiry->witnesses[i];

        if (witness->rank != note->from || witness->has_answered)
            continue;
        witness->has_answered = true;
        witness->is_here = note->group == inquiry->watch->id;
        inquiry->answers++;
        for (int k = 0; k < note->n; k++)
            if (is_member(inquiry->watch, note->waiting[k]))
                ask(inquiry, note->waiting[k]);
        return;
    }
}

static void take_verdict(struct ant_watch_list *list, const struct note *note)
{
    struct ant_verdict *early;
    struct ant_watch *watch = list->live;

    while (watch && watch->id != note->group)
        watch = watch->next;
    if (watch) {
        if (!watch->failed)
            watch->failed = ant_fail(&watch->verdict, note->code, "%.*s",
                                     (int)sizeof(note->text) - 1, note->text);
        return;
    }
    early = ant_xcalloc(1, sizeof(*early));
    early->group = note->group;
    early->code =
        ant_fail(&early->text, note->code, "%.*s", (int)sizeof(note->text) - 1, note->text);
    early->next = list->early;
    list->early = early;
}

static void take_post(struct ant_watch_list *list, const struct note *note)
{
    struct ant_post *post, **end = &list->posts;

    if (note->n < 0 || (size_t)note->n > sizeof(post->data))
        return;
    post = ant_xcalloc(1, sizeof(*post));
    post->group = note->group;
    post->from = note->from;
    post->bytes = (size_t)note->n;
    memcpy(post->data, note->text, post->bytes);
    while (*end)
        end = &(*end)->next;
    *end = post;
}

/* Serve what has come in. `inquiry` is the question of our own, NULL if none. */
static void serve_notes(struct ant_watch *watch, struct inquiry *inquiry)
{
    struct ant_note *letter;

    while ((letter = ant_transport_take_note(watch->transport))) {
        struct note note;

        if (letter->bytes == sizeof(note)) {
            memcpy(&note, letter->data, sizeof(note));
            if (note.kind == ASK)
                answer(watch, &note);
            else if (note.kind == ANSWER && inquiry)
                take_answer(inquiry, &note);
            else if (note.kind == VERDICT && note.code < 0)
                take_verdict(ant_transport_watches(watch->transport), &note);
            else if (note.kind == POST)
                take_post(ant_transport_watches(watch->transport), &note);
        }
        free(letter);
    }
}

static void tell_members(struct ant_watch *watch)
{
    struct note note = {.kind = VERDICT, .group = watch->id, .code = watch->failed};

    memcpy(note.text, watch->verdict.text, sizeof(note.text));
    for (int i = 0; i < watch->n; i++)
        if (i != watch->me)
            send_note(watch, watch->ranks[i], &note);
    ant_transport_flush_notes(watch->transport, answer_seconds);
}

/* ---- who is missing -------------------------------------------------------------------------- */

/* "rank 3 (n2), rank 5 (n2)" of the witnesses that `is_meant` says. 0 if there is none. */
static int name_witnesses(const struct inquiry *inquiry, bool (*is_meant)(const struct witness *),
                          struct ant_buf *out)
{
    int n = 0;

    for (int i = 0; i < inquiry->n; i++) {
        const struct witness *witness = &inquiry->witnesses[i];

        if (!is_meant(witness))
            continue;
        if (n < MAX_NAMED)
            ant_buf_printf(out, "%srank %d (%s)", n ? ", " : "", witness->rank,
                           inquiry->watch->cards[witness->rank].node_name);
        n++;
    }
    if (n > MAX_NAMED)
        ant_buf_printf(out, " and %d more", n - MAX_NAMED);
    return n;
}

static bool is_silent(const struct witness *witness)
{
    return !witness->has_answered;
}

static bool is_elsewhere(const struct witness *witness)
{
    return witness->has_answered && !witness->is_here;
}

static bool is_any(const struct witness *witness)
{
    (void)witness;
    return true;
}

static int pronounce(const struct inquiry *inquiry, const char *what, double timeout,
                     struct ant_error *err)
{
    struct ant_buf names = {0};
    const char *finding = "no answer from";
    int rc;

    if (!name_witnesses(inquiry, is_silent, &names)) {
        finding = "not there but elsewhere:";
        if (!name_witnesses(inquiry, is_elsewhere, &names)) {
            finding = "waiting for";
            name_witnesses(inquiry, is_any, &names);
        }
    }
    rc = ant_fail(err, ANT_EPEER, "%s of %d ranks stood still for %g s: %s %.*s", what,
                  inquiry->watch->n, timeout, finding, (int)names.len, names.len ? names.data : "");
    ant_buf_release(&names);
    return rc;
}

/* The deadline has passed. 0 if things moved again meanwhile, 1 if all has landed. */
static int find_missing(struct ant_watch *watch, struct ant_flight *flight, const char *what,
                        double timeout, struct ant_error *err)
{
    struct ant_watch_list *list = ant_transport_watches(watch->transport);
    struct inquiry inquiry = {.watch = watch, .serial = ++list->serial};
    int peers[MAX_WAITING], landed = flight->landed, answers = 0, rc = 0;
    int n = ant_flight_peers(flight, peers, MAX_WAITING);
    double since = ant_now();
    /* Everybody's deadline may pass at the same moment: the lower ranks then speak first. */
    double patience = answer_seconds + 0.002 * (watch->me < 500 ? watch->me : 500);

    for (int i = 0; i < n; i++)
        ask(&inquiry, peers[i]);
    while (ant_now() - since < patience && !watch->failed) {
        rc = ant_flight_poll(flight, err);
        if (rc != 0 || flight->landed != landed)
            goto out;
        serve_notes(watch, &inquiry);
        if (inquiry.answers != answers) {
            answers = inquiry.answers;
            since = ant_now();
        }
        sched_yield();
    }
    if (!watch->failed)
        rc = pronounce(&inquiry, what, timeout, err);
out:
    free(inquiry.witnesses);
    return rc;
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* Others may need the core: after two milliseconds of yielding a rank sleeps, longer the longer it
 * has waited. */
static void pause_after(double waited)
{
    double nap = waited / 64;

    if (waited < 2e-3) {
        sched_yield();
        return;
    }
    nanosleep(&(struct timespec){0, nap < 4e-3 ? (long)(nap * 1e9) : 4000000}, NULL);
}

/* One that failed by itself tells the others; one that was told does not. */
static int give_up(struct ant_watch *watch, struct ant_flight *flight, int rc,
                   struct ant_error *err)
{
    if (!watch->failed) {
        watch->failed = rc;
        watch->verdict = *err;
        tell_members(watch);
    }
    *err = watch->verdict;
    ant_flight_abandon(flight);
    return watch->failed;
}

/* What others want of this process. 1 if there was something to do. */
static int serve_others(struct ant_watch *watch, struct ant_error *err)
{
    const struct ant_service *service = &ant_transport_watches(watch->transport)->service;

    serve_notes(watch, NULL);
    return service->serve ? service->serve(service->arg, err) : 0;
}

int ant_watch_attend(struct ant_watch *watch, double seconds, bool (*is_over)(void *), void *arg,
                     struct ant_error *err)
{
    double now = ant_now(), end = now + seconds, since = now;

    for (; !watch->failed && now < end && !is_over(arg); now = ant_now()) {
        ant_transport_progress(watch->transport);
        int rc = serve_others(watch, err);
        if (rc == 0)
            rc = ant_transport_check(watch->transport, watch->ranks, watch->n, err);
        if (rc < 0)
            return rc;
        since = rc > 0 ? now : since;
        pause_after(now - since);
    }
    return watch->failed ? ant_fail(err, watch->failed, "%s", watch->verdict.text) : 0;
}

int ant_watch_wait(struct ant_watch *watch, struct ant_flight *flight, const char *what,
                   double timeout, struct ant_error *err)
{
    struct ant_error why = {{0}};
    double since = ant_now();
    int landed = 0, rc = 0;

    watch->waiting = flight;
    while (rc == 0 && !watch->failed) {
        rc = ant_flight_poll(flight, &why);
        int served = rc < 0 ? 0 : serve_others(watch, &why);
        rc = served < 0 ? served : rc;
        if (rc != 0)
            break;
        if (served > 0 || flight->landed != landed) {
            landed = flight->landed;
            since = ant_now();
        } else if (ant_now() - since > timeout) {
            rc = find_missing(watch, flight, what, timeout, &why);
            since = ant_now();
        } else {
            /* Whoever waits for a dead member's partner waits for the dead. */
            rc = ant_transport_check(watch->transport, watch->ranks, watch->n, &why);
        }
        pause_after(ant_now() - since);
    }
    if (rc != 1 || watch->failed)
        rc = give_up(watch, flight, rc, &why);
    watch->waiting = NULL;
    if (rc < 0)
        return ant_fail(err, rc, "%s", why.text);
    return 0;
}

/* ---- posts ----------------------------------------------------------------------------------- */

void ant_watch_post(struct ant_watch *watch, int to, const void *data, size_t bytes)
{
    struct note note = {.kind = POST, .group = watch->id, .n = (int32_t)bytes};

    memcpy(note.text, data, bytes);
    send_note(watch, to, &note);
    ant_transport_progress(watch->transport);
    serve_notes(watch, NULL);
}

struct ant_post *ant_watch_next_post(struct ant_watch *watch)
{
    ant_transport_progress(watch->transport);
    serve_notes(watch, NULL);
    return ant_watch_take_post(watch);
}

struct ant_post *ant_watch_take_post(struct ant_watch *watch)
{
    struct ant_post **link = &ant_transport_watches(watch->transport)->posts, *post;

    while (*link && (*link)->group != watch->id)
        link = &(*link)->next;
    post = *link;
    if (post)
        *link = post->next;
    return post;
}

/* ---- open and close -------------------------------------------------------------------------- */

int ant_watch_join(struct ant_watch *watch, struct ant_error *err)
{
    struct ant_watch_list *list = ant_transport_watches(watch->transport);

    for (struct ant_watch *other = list->live; other; other = other->next)
        if (other->id == watch->id)
            return ant_fail(err, ANT_EBUG, "two groups share the id %08x", watch->id);
    for (struct ant_verdict *early = list->early; early; early = early->next)
        if (early->group == watch->id) {
            watch->failed = early->code;
            watch->verdict = early->text;
        }
    watch->next = list->live;
    list->live = watch;
    return 0;
}

void ant_watch_leave(struct ant_watch *watch)
{
    struct ant_watch **link = &ant_transport_watches(watch->transport)->live;

    while (*link && *link != watch)
        link = &(*link)->next;
    if (*link)
        *link = watch->next;
}

void ant_watch_forget(struct ant_watch_list *list)
{
    while (list->early) {
        struct ant_verdict *early = list->early;

        list->early = early->next;
        free(early);
    }
    while (list->posts) {
        struct ant_post *post = list->posts;

        list->posts = post->next;
        free(post);
    }
    free(list->opened);
    *list = (struct ant_watch_list){0};
}
