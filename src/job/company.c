/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/company.h"

/* Posts of a sender arrive in order: behind its farewell there is no step of its. */
struct post {
    int64_t n_begun; /* LEAVES: it begins no more */
};
enum { LEAVES = -1 };

static void tell_all(const struct ant_company *company, int64_t n_begun)
{
    struct post post = {n_begun};

    for (int i = 0; i < ant_group_size(company->group); i++)
        ant_group_post(company->group, i, &post, sizeof(post));
}

static void hear_all(struct ant_company *company)
{
    struct post post;
    int from;

    while (ant_group_next_post(company->group, &from, &post, sizeof(post))) {
        company->n_left += post.n_begun == LEAVES;
        if (post.n_begun > company->n_called)
            company->n_called = post.n_begun;
    }
}

void ant_company_begin(struct ant_company *company)
{
    hear_all(company);
    company->n_begun++;
    if (company->n_called < company->n_begun)
        tell_all(company, company->n_begun);
}

bool ant_company_is_called(struct ant_company *company)
{
    hear_all(company);
    return company->n_called > company->n_begun;
}

void ant_company_leave(struct ant_company *company)
{
    tell_all(company, LEAVES);
}

bool ant_company_is_over(struct ant_company *company)
{
    hear_all(company);
    return company->n_left == ant_group_size(company->group) - 1;
}
