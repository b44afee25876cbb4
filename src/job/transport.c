/* SPDX-License-Identifier: Apache-2.0 */
/* The transport over UCX. */
#include "config.h"

#include "job/transport.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ucp/api/ucp.h>
#include <ucs/config/global_opts.h>
#include <ucs/debug/debug.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "job/watch.h"

enum {
    SEGMENT = 8 << 20, /* longer messages travel in pieces, so that a slow wire shows progress */
    NOTE_ID = 1,       /* of active messages: a note, */
    ADD_ID,            /* an addition to a word, */
    ANSWER_ID,         /* and what the word was before */
};

/* A peer counts as dead this long after its connection broke: what it sent before it left may still
 * be on its way up through the library. */
static const double death_delay = 1.0;
static const double close_seconds = 5.0;

struct peer {
    struct ant_transport *transport;
    ucp_ep_h ep; /* NULL until something is sent to it */
    const struct ant_card *card;
    ucs_status_t broken; /* UCS_OK, or why its connection is no more */
    double broken_since;
    bool is_cut; /* given up by us */
};

/* What travels for ADD_ID and back for ANSWER_ID. */
struct addition {
    uint64_t key;    /* of the word */
    uint64_t serial; /* of the addition, among those of the rank that asks */
    int64_t n;       /* what is added; in an answer, what was there before */
    uint32_t from;   /* the world rank that asks */
    uint32_t unused;
};

struct ant_transport {
    ucp_context_h context;
    ucp_worker_h worker;
    ucp_address_t *address;
    size_t address_bytes;
    struct peer **peers; /* (n_peers) by world rank, NULL where never met; owned */
    int n_peers, n_broken;
    struct ant_note *notes, **notes_end; /* received, oldest first */
    int smalls_out;                      /* notes and the like: sent, not yet gone */
    struct ant_word *words;              /* open here; owned by their users, as are the next */
    struct ant_far_word *far_words;
    struct answer *answers; /* to be sent; owned */
    uint64_t serial;        /* of words and additions */
    bool is_hasty; /* closing waits for nobody: a flight was abandoned, or nothing matters */
    struct ant_watch_list watches;
};

struct ant_word {
    struct ant_word *next;
    struct ant_transport *transport;
    uint64_t key;
    int64_t *value; /* borrowed */
};

struct ant_far_word {
    struct ant_far_word *next;
    struct ant_transport *transport;
    int peer;
    struct addition message;
    ucs_status_t failed; /* to get there at all */
    bool is_done;
};

struct answer {
    struct answer *next;
    struct addition message;
};

struct ant_message {
    void *request; /* NULL once done */
    int peer;
    bool is_send;
    size_t bytes;
    ucs_status_t failed; /* at once, without a request */
};

/* ---- start and end --------------------------------------------------------------------------- */

static bool is_set(const char *name)
{
    const char *value = getenv(name);

    return value && *value;
}

/* UCX has read its variables before main began, so defaults of our own are set through its
 * functions, each only where the user has not spoken. */
static void quieten_library(void)
{
    static const int caught[] = {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGHUP};

    /* Whatever goes wrong comes back as a status and is reported once, in our words. */
    if (!is_set("UCX_LOG_LEVEL"))
        ucs_global_opts_set_value("LOG_LEVEL", "fatal");
    /* Its handlers print a long trace from within the crash, hide the signal from debuggers and
     * core files, and keep SIGHUP from ending a job. */
    if (!is_set("UCX_HANDLE_ERRORS") && !is_set("UCX_ERROR_SIGNALS"))
        for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
            ucs_debug_disable_signal(caught[i]);
}

/* Versions that do not know the name refuse it, and do not need it. */
static void set_default(ucp_config_t *config, const char *name, const char *value)
{
    char variable[64];

    snprintf(variable, sizeof(variable), "UCX_%s", name);
    if (!is_set(variable))
        ucp_config_modify(config, name, value);
}

static ucs_status_t make_context(ucp_context_h *context)
{
    ucp_params_t params = {
        .field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME,
        .features = UCP_FEATURE_TAG | UCP_FEATURE_AM,
        .name = "antiphon",
    };
    ucp_config_t *config;
    ucs_status_t status = ucp_config_read(NULL, NULL, &config);

    if (status != UCS_OK)
        return status;
    /* Only host memory goes this way; the device's transports would open its driver in every
     * process. */
    set_default(config, "TLS", "^cuda");
    /* Endpoints that report a peer's death go through shared memory only if it is told to watch
     * for that; else ranks of one host talk over TCP, 50 times slower. */
    set_default(config, "MM_ERROR_HANDLING", "y");
    set_default(config, "KEEPALIVE_INTERVAL", "5s"); /* a death is seen within that time */
    status = ucp_init(&params, config, context);
    ucp_config_release(config);
    return status;
}

static ucs_status_t take_note(void *arg, const void *header, size_t header_bytes, void *data,
                              size_t bytes, const ucp_am_recv_param_t *param)
{
    struct ant_transport *transport = arg;
    struct ant_note *note;

    (void)header, (void)header_bytes;
    if (bytes > ANT_NOTE_BYTES || (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV))
        return UCS_OK;
    note = ant_xmalloc(sizeof(*note) + bytes);
    note->next = NULL;
    note->bytes = bytes;
    if (bytes)
        memcpy(note->data, data, bytes);
    *transport->notes_end = note;
    transport->notes_end = &note->next;
    return UCS_OK;
}

static ucs_status_t take_addition(void *arg, const void *header, size_t header_bytes, void *data,
                                  size_t bytes, const ucp_am_recv_param_t *param)
{
    struct ant_transport *transport = arg;
    struct ant_word *word = transport->words;
    struct answer *answer;

    (void)header, (void)header_bytes;
    if (bytes != sizeof(answer->message) || (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV))
        return UCS_OK;
    answer = ant_xmalloc(sizeof(*answer));
    memcpy(&answer->message, data, bytes);
    while (word && word->key != answer->message.key)
        word = word->next;
    if (!word || answer->message.from >= (uint32_t)transport->n_peers) {
        free(answer); /* nobody waits for it any more */
        return UCS_OK;
    }
    answer->message.n = __atomic_fetch_add(word->value, answer->message.n, __ATOMIC_SEQ_CST);
    answer->next = transport->answers;
    transport->answers = answer;
    return UCS_OK;
}

static ucs_status_t take_answer(void *arg, const void *header, size_t header_bytes, void *data,
                                size_t bytes, const ucp_am_recv_param_t *param)
{
    struct ant_transport *transport = arg;
    struct addition message;

    (void)header, (void)header_bytes;
    if (bytes != sizeof(message) || (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV))
        return UCS_OK;
    memcpy(&message, data, bytes);
    for (struct ant_far_word *word = transport->far_words; word; word = word->next)
        if (word->message.serial == message.serial && !word->is_done) {
            word->message.n = message.n;
            word->is_done = true;
        }
    return UCS_OK;
}

/* The function is called with each message of that kind that arrives. */
static ucs_status_t hear(struct ant_transport *transport, unsigned id,
                         ucp_am_recv_callback_t function)
{
    ucp_am_handler_param_t handler = {
        .field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                      UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG,
        .id = id,
        .flags = UCP_AM_FLAG_WHOLE_MSG,
        .cb = function,
        .arg = transport,
    };

    return ucp_worker_set_am_recv_handler(transport->worker, &handler);
}

static ucs_status_t make_worker(struct ant_transport *transport)
{
    ucp_worker_params_t params = {
        .field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
        /* The thread that opens a transport need not be the one that uses it. */
        .thread_mode = UCS_THREAD_MODE_SERIALIZED,
    };
    ucs_status_t status = ucp_worker_create(transport->context, &params, &transport->worker);

    if (status == UCS_OK)
        status = hear(transport, NOTE_ID, take_note);
    if (status == UCS_OK)
        status = hear(transport, ADD_ID, take_addition);
    if (status == UCS_OK)
        status = hear(transport, ANSWER_ID, take_answer);
    if (status == UCS_OK)
        status = ucp_worker_get_address(transport->worker, &transport->address,
                                        &transport->address_bytes);
    return status;
}

int ant_transport_open(struct ant_transport **out, bool is_alone, struct ant_error *err)
{
    struct ant_transport *transport = ant_xcalloc(1, sizeof(*transport));
    ucs_status_t status;

    transport->notes_end = &transport->notes;
    *out = transport;
    if (is_alone)
        return 0;
    quieten_library();
    status = make_context(&transport->context);
    if (status == UCS_OK)
        status = make_worker(transport);
    if (status != UCS_OK) {
        ant_transport_close(transport);
        *out = NULL;
        return ant_fail(err, ANT_EPEER, "cannot start UCX %s: %s", ant_transport_version(),
                        ucs_status_string(status));
    }
    return 0;
}

/* Progress until a request is over; false if `deadline` came first. Frees it. */
static bool finish(struct ant_transport *transport, void *request, double deadline)
{
    bool is_over = true;

    if (!UCS_PTR_IS_PTR(request))
        return true;
    while (ucp_request_check_status(request) == UCS_INPROGRESS) {
        if (ucp_worker_progress(transport->worker) == 0)
            sched_yield(); /* those at the other end may need this core */
        if (ant_now() > deadline) {
            is_over = false;
            break;
        }
    }
    ucp_request_free(request);
    return is_over;
}

static void *begin_close(struct peer *peer, uint32_t flags)
{
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS, .flags = flags};
    void *request = peer->ep ? ucp_ep_close_nbx(peer->ep, &param) : NULL;

    peer->ep = NULL;
    return request;
}

/* All at once, so that the time is that of the slowest. What is still to be sent goes out first,
 * unless that is in haste: a peer that does not listen any more would hold us up. */
static void close_peers(struct ant_transport *transport)
{
    void **requests = ant_xcalloc((size_t)transport->n_peers + 1, sizeof(*requests));
    double deadline = ant_now() + close_seconds;

    for (int i = 0; i < transport->n_peers; i++) {
        struct peer *peer = transport->peers[i];

        if (peer)
            requests[i] = begin_close(
                peer, transport->is_hasty || peer->broken != UCS_OK ? UCP_EP_CLOSE_FLAG_FORCE : 0);
    }
    for (int i = 0; i < transport->n_peers; i++)
        finish(transport, requests[i], deadline);
    free(requests);
}

void ant_transport_close(struct ant_transport *transport)
{
    struct ant_note *note;

    if (!transport)
        return;
    if (transport->worker)
        close_peers(transport);
    if (transport->address)
        ucp_worker_release_address(transport->worker, transport->address);
    if (transport->worker)
        ucp_worker_destroy(transport->worker);
    if (transport->context)
        ucp_cleanup(transport->context);
    ant_watch_forget(&transport->watches);
    while ((note = ant_transport_take_note(transport)))
        free(note);
    while (transport->answers) {
        struct answer *answer = transport->answers;

        transport->answers = answer->next;
        free(answer);
    }
    for (int i = 0; i < transport->n_peers; i++)
        free(transport->peers[i]);
    free(transport->peers);
    free(transport);
}

void ant_transport_close_at_once(struct ant_transport *transport)
{
    if (transport)
        transport->is_hasty = true;
    ant_transport_close(transport);
}

const void *ant_transport_address(const struct ant_transport *transport, size_t *bytes)
{
    *bytes = transport->address_bytes;
    return transport->address;
}

const char *ant_transport_version(void)
{
    return ucp_get_version_string();
}

struct ant_watch_list *ant_transport_watches(struct ant_transport *transport)
{
    return &transport->watches;
}

/* ---- peers ----------------------------------------------------------------------------------- */

void ant_transport_meet(struct ant_transport *transport, const struct ant_card *cards,
                        const int *ranks, int n)
{
    for (int i = 0; i < n; i++) {
        int rank = ranks[i];

        if (rank >= transport->n_peers) {
            transport->peers =
                ant_xrealloc(transport->peers, (size_t)rank + 1, sizeof(*transport->peers));
            while (transport->n_peers <= rank)
                transport->peers[transport->n_peers++] = NULL;
        }
        if (!transport->peers[rank])
            transport->peers[rank] = ant_xcalloc(1, sizeof(struct peer));
        transport->peers[rank]->transport = transport;
        transport->peers[rank]->card = &cards[rank];
    }
}

static void note_broken(void *arg, ucp_ep_h ep, ucs_status_t status)
{
    struct peer *peer = arg;

    (void)ep;
    if (peer->broken == UCS_OK) {
        peer->broken = status;
        peer->broken_since = ant_now();
        peer->transport->n_broken++;
    }
}

static ucs_status_t connect_peer(struct ant_transport *transport, struct peer *peer)
{
    ucp_ep_params_t params = {
        .field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                      UCP_EP_PARAM_FIELD_ERR_HANDLER,
        .address = (const ucp_address_t *)peer->card->address,
        /* With it the requests of a dead peer come back instead of waiting for ever. */
        .err_mode = UCP_ERR_HANDLING_MODE_PEER,
        .err_handler = {.cb = note_broken, .arg = peer},
    };

    if (peer->broken != UCS_OK)
        return peer->broken;
    if (peer->ep)
        return UCS_OK;
    if (peer->card->address_bytes == 0)
        return UCS_ERR_UNREACHABLE;
    return ucp_ep_create(transport->worker, &params, &peer->ep);
}

static void cut_peer(struct ant_transport *transport, struct peer *peer)
{
    void *request = begin_close(peer, UCP_EP_CLOSE_FLAG_FORCE);

    peer->is_cut = true;
    if (peer->broken == UCS_OK)
        note_broken(peer, NULL, UCS_ERR_CANCELED);
    finish(transport, request, ant_now() + close_seconds);
}

/* Adds "tcp/eth0" out of "lane[0]:  2:tcp/eth0.0 md[1] ...", once. */
static void add_way(const char *lane, char *out, size_t bytes)
{
    const char *text = strchr(lane, ']');
    char way[64];
    size_t used = strlen(out);

    for (int colons = 0; text && colons < 2; colons++)
        text = strchr(text + 1, ':');
    if (!text)
        return;
    snprintf(way, sizeof(way), "%.*s", (int)strcspn(text + 1, ". "), text + 1);
    if (*way && !strstr(out, way) && used + strlen(way) + 3 < bytes)
        snprintf(out + used, bytes - used, "%s%s", used ? ", " : "", way);
}

/* UCX tells it as text alone. */
void ant_transport_ways(const struct ant_transport *transport, int peer, char *out, size_t bytes)
{
    ucp_ep_h ep =
        peer < transport->n_peers && transport->peers[peer] ? transport->peers[peer]->ep : NULL;
    char *text = NULL;
    size_t length;
    FILE *file = ep ? open_memstream(&text, &length) : NULL;

    *out = '\0';
    if (!file)
        return;
    ucp_ep_print_info(ep, file);
    bool is_whole = fclose(file) == 0;
    for (const char *lane = is_whole ? strstr(text, "lane[") : NULL; lane;
         lane = strstr(lane + 1, "lane["))
        add_way(lane, out, bytes);
    free(text);
}

struct small {
    struct ant_transport *transport;
    unsigned char data[ANT_NOTE_BYTES];
};

static void small_gone(void *request, ucs_status_t status, void *arg)
{
    struct small *small = arg;

    (void)status; /* best effort */
    small->transport->smalls_out--;
    free(small);
    if (request)
        ucp_request_free(request);
}

/* At most ANT_NOTE_BYTES. */
static void send_small(struct ant_transport *transport, int peer, unsigned id, const void *data,
                       size_t bytes)
{
    struct peer *to = transport->peers[peer];
    ucp_request_param_t param = {
        .op_attr_mask =
            UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS,
        .flags = UCP_AM_SEND_FLAG_EAGER,
        .cb.send = small_gone,
    };
    struct small *small;
    void *request;

    if (!to || connect_peer(transport, to) != UCS_OK)
        return;
    small = ant_xmalloc(sizeof(*small));
    small->transport = transport;
    memcpy(small->data, data, bytes);
    param.user_data = small;
    transport->smalls_out++;
    request = ucp_am_send_nbx(to->ep, id, NULL, 0, small->data, bytes, &param);
    if (!UCS_PTR_IS_PTR(request))
        small_gone(NULL, UCS_PTR_STATUS(request), small);
}

/* Outside of the library's callbacks, since an answer may have to connect first. */
static void send_answers(struct ant_transport *transport)
{
    while (transport->answers) {
        struct answer *answer = transport->answers;

        transport->answers = answer->next;
        send_small(transport, (int)answer->message.from, ANSWER_ID, &answer->message,
                   sizeof(answer->message));
        free(answer);
    }
}

static unsigned advance(struct ant_transport *transport)
{
    unsigned n = ucp_worker_progress(transport->worker);

    send_answers(transport);
    return n;
}

/* ---- flights --------------------------------------------------------------------------------- */

static struct ant_message *add_message(struct ant_flight *flight, int peer, bool is_send,
                                       size_t bytes)
{
    struct ant_message *message;

    if (flight->count == flight->capacity) {
        flight->capacity = flight->capacity ? 2 * flight->capacity : 8;
        flight->messages =
            ant_xrealloc(flight->messages, (size_t)flight->capacity, sizeof(*flight->messages));
    }
    message = &flight->messages[flight->count++];
    *message = (struct ant_message){.peer = peer, .is_send = is_send, .bytes = bytes};
    return message;
}

/* What an operation returned: a request, done at once, or an error at once. */
static void set_outcome(struct ant_message *message, void *outcome)
{
    if (UCS_PTR_IS_ERR(outcome))
        message->failed = UCS_PTR_STATUS(outcome);
    else
        message->request = outcome;
}

void ant_flight_send(struct ant_flight *flight, int peer, uint64_t tag, const void *data,
                     size_t bytes)
{
    struct ant_transport *transport = flight->transport;
    struct peer *to = transport->peers[peer];
    ucp_request_param_t param = {.op_attr_mask = 0};
    const char *from = data;

    do {
        size_t part = bytes < SEGMENT ? bytes : SEGMENT;
        struct ant_message *message = add_message(flight, peer, true, part);

        message->failed = connect_peer(transport, to);
        if (message->failed == UCS_OK)
            set_outcome(message, ucp_tag_send_nbx(to->ep, from, part, tag, &param));
        from += part;
        bytes -= part;
    } while (bytes > 0);
}

void ant_flight_receive(struct ant_flight *flight, int peer, uint64_t tag, void *data, size_t bytes)
{
    /* Always a request, even for what is here already: it carries the length. */
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FLAG_NO_IMM_CMPL};
    char *to = data;

    do {
        size_t part = bytes < SEGMENT ? bytes : SEGMENT;
        struct ant_message *message = add_message(flight, peer, false, part);

        set_outcome(message,
                    ucp_tag_recv_nbx(flight->transport->worker, to, part, tag, UINT64_MAX, &param));
        to += part;
        bytes -= part;
    } while (bytes > 0);
}

static int fail_peer(const struct ant_transport *transport, int rank, ucs_status_t status,
                     struct ant_error *err)
{
    const struct peer *peer = transport->peers[rank];
    const char *node = peer->card->node_name;

    if (peer->is_cut)
        return ant_fail(err, ANT_EPEER, "rank %d (%s) was given up before", rank, node);
    return ant_fail(err, ANT_EPEER, "rank %d (%s) is gone: %s", rank, node,
                    ucs_status_string(status));
}

static int fail_size(const struct ant_transport *transport, const struct ant_message *message,
                     const char *sent, struct ant_error *err)
{
    return ant_fail(err, ANT_EPEER,
                    "rank %d (%s) sent %s than the %zu bytes expected: the ranks disagree about "
                    "what they do together",
                    message->peer, transport->peers[message->peer]->card->node_name, sent,
                    message->bytes);
}

int ant_transport_check(const struct ant_transport *transport, const int *ranks, int n,
                        struct ant_error *err)
{
    if (transport->n_broken == 0)
        return 0;
    for (int i = 0; i < n; i++) {
        const struct peer *peer = transport->peers[ranks[i]];

        if (peer->broken != UCS_OK && ant_now() - peer->broken_since > death_delay)
            return fail_peer(transport, ranks[i], peer->broken, err);
    }
    return 0;
}

/* 1 done, 0 not yet, or the error. */
static int check_message(struct ant_transport *transport, struct ant_message *message,
                         struct ant_error *err)
{
    ucs_status_t status = message->failed;
    ucp_tag_recv_info_t info = {.length = message->bytes};

    if (message->request)
        status = message->is_send ? ucp_request_check_status(message->request)
                                  : ucp_tag_recv_request_test(message->request, &info);
    if (status == UCS_INPROGRESS)
        return 0;
    if (message->request) {
        ucp_request_free(message->request);
        message->request = NULL;
    }
    if (status == UCS_ERR_MESSAGE_TRUNCATED)
        return fail_size(transport, message, "more", err);
    if (status != UCS_OK)
        return fail_peer(transport, message->peer, status, err);
    if (info.length != message->bytes)
        return fail_size(transport, message, "less", err);
    return 1;
}

int ant_flight_poll(struct ant_flight *flight, struct ant_error *err)
{
    if (flight->transport->worker)
        advance(flight->transport);
    while (flight->landed < flight->count) {
        int rc = check_message(flight->transport, &flight->messages[flight->landed], err);

        if (rc <= 0)
            return rc;
        flight->landed++;
    }
    flight->count = flight->landed = 0;
    return 1;
}

int ant_flight_peers(const struct ant_flight *flight, int *peers, int max)
{
    int n = 0;

    for (int i = flight->landed; i < flight->count && n < max; i++) {
        bool is_known = false;

        for (int k = 0; k < n; k++)
            is_known = is_known || peers[k] == flight->messages[i].peer;
        if (!is_known && flight->messages[i].request &&
            ucp_request_check_status(flight->messages[i].request) == UCS_INPROGRESS)
            peers[n++] = flight->messages[i].peer;
    }
    return n;
}

void ant_flight_abandon(struct ant_flight *flight)
{
    struct ant_transport *transport = flight->transport;
    double deadline = ant_now() + close_seconds;

    transport->is_hasty = true;
    for (int i = flight->landed; i < flight->count; i++) {
        struct ant_message *message = &flight->messages[i];

        if (!message->request || ucp_request_check_status(message->request) != UCS_INPROGRESS)
            continue;
        /* A send cannot be taken back alone: the other side may be reading the buffer. */
        if (message->is_send)
            cut_peer(transport, transport->peers[message->peer]);
        else
            ucp_request_cancel(transport->worker, message->request);
    }
    /* A send that UCX keeps, as a peer that is ending too may make it, is only read from. */
    for (int i = flight->landed; i < flight->count; i++)
        if (!finish(transport, flight->messages[i].request, deadline) &&
            !flight->messages[i].is_send)
            ant_die("UCX does not give back a message from rank %d", flight->messages[i].peer);
    flight->count = flight->landed = 0;
}

void ant_flight_release(struct ant_flight *flight)
{
    free(flight->messages);
    flight->messages = NULL;
    flight->count = flight->capacity = flight->landed = 0;
}

/* ---- notes ----------------------------------------------------------------------------------- */

void ant_transport_send_note(struct ant_transport *transport, int peer, const void *data,
                             size_t bytes)
{
    if (bytes <= ANT_NOTE_BYTES)
        send_small(transport, peer, NOTE_ID, data, bytes);
}

struct ant_note *ant_transport_take_note(struct ant_transport *transport)
{
    struct ant_note *note = transport->notes;

    if (note) {
        transport->notes = note->next;
        if (!transport->notes)
            transport->notes_end = &transport->notes;
    }
    return note;
}

void ant_transport_progress(struct ant_transport *transport)
{
    while (transport->worker && advance(transport))
        ;
}

void ant_transport_flush_notes(struct ant_transport *transport, double seconds)
{
    double deadline = ant_now() + seconds;

    while (transport->smalls_out > 0 && ant_now() < deadline)
        advance(transport);
}

/* ---- words ----------------------------------------------------------------------------------- */

/* Additions are messages like notes, not UCX's atomic operations: from 1.16 on those never end on
 * endpoints that report a peer's death. */
int ant_word_open(struct ant_word **out, struct ant_transport *transport, int64_t *value,
                  struct ant_error *err)
{
    struct ant_word *word = ant_xcalloc(1, sizeof(*word));

    (void)err;
    *word = (struct ant_word){
        .next = transport->words,
        .transport = transport,
        .key = ++transport->serial,
        .value = value,
    };
    transport->words = word;
    *out = word;
    return 0;
}

void ant_word_close(struct ant_word *word)
{
    struct ant_word **at;

    if (!word)
        return;
    for (at = &word->transport->words; *at != word; at = &(*at)->next)
        ;
    *at = word->next;
    free(word);
}

const void *ant_word_key(const struct ant_word *word, size_t *bytes)
{
    *bytes = sizeof(word->key);
    return &word->key;
}

struct ant_far_word *ant_far_word_open(struct ant_transport *transport, int self, int peer,
                                       const void *key, size_t bytes)
{
    struct ant_far_word *word = ant_xcalloc(1, sizeof(*word));

    word->transport = transport;
    word->peer = peer;
    word->message.from = (uint32_t)self;
    word->failed = UCS_ERR_INVALID_PARAM;
    word->next = transport->far_words;
    transport->far_words = word;
    if (bytes != sizeof(word->message.key))
        return word;
    memcpy(&word->message.key, key, bytes);
    word->failed = connect_peer(transport, transport->peers[peer]);
    return word;
}

void ant_far_word_close(struct ant_far_word *word)
{
    struct ant_far_word **at;

    if (!word)
        return;
    for (at = &word->transport->far_words; *at != word; at = &(*at)->next)
        ;
    *at = word->next;
    free(word);
}

void ant_far_word_add(struct ant_far_word *word, int64_t n)
{
    word->message.n = n;
    word->message.serial = ++word->transport->serial;
    word->is_done = false;
    if (word->failed == UCS_OK)
        send_small(word->transport, word->peer, ADD_ID, &word->message, sizeof(word->message));
}

int ant_far_word_poll(struct ant_far_word *word, int64_t *before, struct ant_error *err)
{
    const struct peer *peer = word->transport->peers[word->peer];

    if (!word->is_done && advance(word->transport) == 0)
        sched_yield(); /* the owner may need this core */
    if (word->is_done) {
        *before = word->message.n;
        return 1;
    }
    if (word->failed != UCS_OK || peer->broken != UCS_OK)
        return fail_peer(word->transport, word->peer,
                         word->failed != UCS_OK ? word->failed : peer->broken, err);
    return 0;
}
