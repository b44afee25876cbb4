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
    NOTE_ID = 1,       /* of the active message that carries a note */
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

struct ant_transport {
    ucp_context_h context;
    ucp_worker_h worker;
    ucp_address_t *address;
    size_t address_bytes;
    struct peer **peers; /* (n_peers) by world rank, NULL where never met; owned */
    int n_peers, n_broken;
    struct ant_note *notes, **notes_end; /* received, oldest first */
    int notes_out;                       /* sent, not yet gone */
    bool has_failed;                     /* a flight was abandoned: somebody will not listen */
    struct ant_watch_list watches;
};

struct ant_message {
    void *request; /* NULL once done */
    int peer;
    bool is_send;
    size_t bytes;
    ucs_status_t failed; /* at once, without a request */
};

/* --- start and end ----------------------------------------------------------------------- */

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
        .features = UCP_FEATURE_TAG | UCP_FEATURE_AM | UCP_FEATURE_AMO64,
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
    /* Always: words are added to by this CPU too, which those of a network card would not see. */
    ucp_config_modify(config, "ATOMIC_MODE", "cpu");
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

static ucs_status_t make_worker(struct ant_transport *transport)
{
    ucp_worker_params_t params = {
        .field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
        .thread_mode = UCS_THREAD_MODE_SINGLE,
    };
    ucp_am_handler_param_t handler = {
        .field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                      UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG,
        .id = NOTE_ID,
        .flags = UCP_AM_FLAG_WHOLE_MSG,
        .cb = take_note,
        .arg = transport,
    };
    ucs_status_t status = ucp_worker_create(transport->context, &params, &transport->worker);

    if (status == UCS_OK)
        status = ucp_worker_set_am_recv_handler(transport->worker, &handler);
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
 * unless there was a failure: a peer that does not listen any more would hold us up. */
static void close_peers(struct ant_transport *transport)
{
    void **requests = ant_xcalloc((size_t)transport->n_peers + 1, sizeof(*requests));
    double deadline = ant_now() + close_seconds;

    for (int i = 0; i < transport->n_peers; i++) {
        struct peer *peer = transport->peers[i];

        if (peer)
            requests[i] = begin_close(peer, transport->has_failed || peer->broken != UCS_OK
                                                ? UCP_EP_CLOSE_FLAG_FORCE
                                                : 0);
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
    for (int i = 0; i < transport->n_peers; i++)
        free(transport->peers[i]);
    free(transport->peers);
    free(transport);
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

/* --- peers ------------------------------------------------------------------------------- */

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
    const char *text = strchr(strchr(lane, ']'), ':');
    char way[64];
    size_t used = strlen(out);

    if (!text || !(text = strchr(text + 1, ':')))
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
    fclose(file);
    for (const char *lane = strstr(text, "lane["); lane; lane = strstr(lane + 1, "lane["))
        add_way(lane, out, bytes);
    free(text);
}

/* --- flights ----------------------------------------------------------------------------- */

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
        ucp_worker_progress(flight->transport->worker);
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

    transport->has_failed = true;
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
    for (int i = flight->landed; i < flight->count; i++)
        if (!finish(transport, flight->messages[i].request, deadline))
            ant_die("UCX does not give back a message to rank %d", flight->messages[i].peer);
    flight->count = flight->landed = 0;
}

void ant_flight_release(struct ant_flight *flight)
{
    free(flight->messages);
    flight->messages = NULL;
    flight->count = flight->capacity = flight->landed = 0;
}

/* --- notes ------------------------------------------------------------------------------- */

struct note_out {
    struct ant_transport *transport;
    unsigned char data[ANT_NOTE_BYTES];
};

static void note_gone(void *request, ucs_status_t status, void *arg)
{
    struct note_out *note = arg;

    (void)status; /* best effort */
    note->transport->notes_out--;
    free(note);
    if (request)
        ucp_request_free(request);
}

void ant_transport_send_note(struct ant_transport *transport, int peer, const void *data,
                             size_t bytes)
{
    struct peer *to = transport->peers[peer];
    ucp_request_param_t param = {
        .op_attr_mask =
            UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS,
        .flags = UCP_AM_SEND_FLAG_EAGER,
        .cb.send = note_gone,
    };
    struct note_out *note;
    void *request;

    if (!to || bytes > ANT_NOTE_BYTES || connect_peer(transport, to) != UCS_OK)
        return;
    note = ant_xmalloc(sizeof(*note));
    note->transport = transport;
    memcpy(note->data, data, bytes);
    param.user_data = note;
    transport->notes_out++;
    request = ucp_am_send_nbx(to->ep, NOTE_ID, NULL, 0, note->data, bytes, &param);
    if (!UCS_PTR_IS_PTR(request))
        note_gone(NULL, UCS_PTR_STATUS(request), note);
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
    while (transport->worker && ucp_worker_progress(transport->worker))
        ;
}

void ant_transport_flush_notes(struct ant_transport *transport, double seconds)
{
    double deadline = ant_now() + seconds;

    while (transport->notes_out > 0 && ant_now() < deadline)
        ucp_worker_progress(transport->worker);
}

/* --- words ------------------------------------------------------------------------------- */

/* Before the library's own key comes the address. */
struct ant_word {
    struct ant_transport *transport;
    ucp_mem_h memory;
    char *key; /* owned */
    size_t key_bytes;
};

struct ant_far_word {
    struct ant_transport *transport;
    int peer;
    uint64_t address;
    ucp_rkey_h key;
    ucs_status_t failed; /* to get there at all */
    void *outcome;       /* of the addition under way */
    int64_t n, before;
};

static ucs_status_t map_word(struct ant_word *word, int64_t *value)
{
    ucp_mem_map_params_t params = {
        .field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH,
        .address = value,
        .length = sizeof(*value),
    };

    return ucp_mem_map(word->transport->context, &params, &word->memory);
}

static ucs_status_t pack_key(struct ant_word *word, const int64_t *value)
{
    uint64_t address = (uint64_t)(uintptr_t)value;
    void *packed = NULL;
    size_t bytes = 0;
    ucs_status_t status = ucp_rkey_pack(word->transport->context, word->memory, &packed, &bytes);

    if (status != UCS_OK)
        return status;
    word->key_bytes = sizeof(address) + bytes;
    word->key = ant_xmalloc(word->key_bytes);
    memcpy(word->key, &address, sizeof(address));
    memcpy(word->key + sizeof(address), packed, bytes);
    ucp_rkey_buffer_release(packed);
    return UCS_OK;
}

int ant_word_open(struct ant_word **out, struct ant_transport *transport, int64_t *value,
                  struct ant_error *err)
{
    struct ant_word *word = ant_xcalloc(1, sizeof(*word));

    word->transport = transport;
    ucs_status_t status = map_word(word, value);
    if (status == UCS_OK)
        status = pack_key(word, value);
    if (status != UCS_OK) {
        ant_word_close(word);
        return ant_fail(err, ANT_EPEER, "UCX cannot share a number: %s", ucs_status_string(status));
    }
    *out = word;
    return 0;
}

void ant_word_close(struct ant_word *word)
{
    if (!word)
        return;
    if (word->memory)
        ucp_mem_unmap(word->transport->context, word->memory);
    free(word->key);
    free(word);
}

const void *ant_word_key(const struct ant_word *word, size_t *bytes)
{
    *bytes = word->key_bytes;
    return word->key;
}

struct ant_far_word *ant_far_word_open(struct ant_transport *transport, int peer, const void *key,
                                       size_t bytes)
{
    struct ant_far_word *word = ant_xcalloc(1, sizeof(*word));
    struct peer *to = transport->peers[peer];

    word->transport = transport;
    word->peer = peer;
    word->failed = UCS_ERR_INVALID_PARAM;
    if (bytes <= sizeof(word->address))
        return word;
    memcpy(&word->address, key, sizeof(word->address));
    word->failed = connect_peer(transport, to);
    if (word->failed == UCS_OK)
        word->failed =
            ucp_ep_rkey_unpack(to->ep, (const char *)key + sizeof(word->address), &word->key);
    return word;
}

void ant_far_word_close(struct ant_far_word *word)
{
    if (!word)
        return;
    if (word->key)
        ucp_rkey_destroy(word->key);
    free(word);
}

void ant_far_word_add(struct ant_far_word *word, int64_t n)
{
    struct peer *to = word->transport->peers[word->peer];
    ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_DATATYPE | UCP_OP_ATTR_FIELD_REPLY_BUFFER,
        .datatype = ucp_dt_make_contig(sizeof(word->n)),
        .reply_buffer = &word->before,
    };

    word->n = n;
    word->outcome = UCS_STATUS_PTR(word->failed);
    if (word->failed != UCS_OK)
        return;
    if (to->broken != UCS_OK)
        word->outcome = UCS_STATUS_PTR(to->broken);
    else
        word->outcome = ucp_atomic_op_nbx(to->ep, UCP_ATOMIC_OP_ADD, &word->n, 1, word->address,
                                          word->key, &param);
}

int ant_far_word_poll(struct ant_far_word *word, int64_t *before, struct ant_error *err)
{
    ucs_status_t status = UCS_PTR_STATUS(word->outcome);

    if (UCS_PTR_IS_PTR(word->outcome)) {
        ucp_worker_progress(word->transport->worker);
        status = ucp_request_check_status(word->outcome);
        if (status == UCS_INPROGRESS)
            return 0;
        ucp_request_free(word->outcome);
        word->outcome = NULL;
    }
    if (status != UCS_OK)
        return fail_peer(word->transport, word->peer, status, err);
    *before = word->before;
    return 1;
}
