#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# One replica over several ranks: tensor parallel, pipeline, both, several of them, and after a
# restart with another layout; dense models and mixtures. In float32 the answers are those of one rank.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/lib.sh"
under_slurm 2 8
cd "$tmp" || exit 1
export ANTIPHON_CPU=c ANTIPHON_CHECK=1

for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    echo "{\"prompt\": \"$(printf 'row %s ' $i | tr 'row' 'abc')$(seq -s ' ' 1 $((i * 3)))\"}"
done >prompts.jsonl
"$antiphon" pack prompts.jsonl -o p.h5 >/dev/null || exit 1

# job NODES TASKS MODEL OUT OPTIONS...
job() {
    nodes=$1 tasks=$2 model=$3 file=$4
    shift 4
    on_nodes "$nodes" "$tasks" "$antiphon" run -m "$tiny/$model" -i p.h5 -o "$file" --max-tokens 20 \
        --ignore-eos --kv-type f32 --threads 1 --max-num-seqs 5 --max-num-batched-tokens 24 "$@"
}

for model in llama mixtral phimoe; do
    if [ ! -d "$tiny/$model" ]; then
        skip "$model" "$model" "no tiny checkpoint"
        continue
    fi
    job 1 1 "$model" one.h5 --restart-over
    expect "$model on one rank" 0 "12/12 rows"
    for layout in "2 2 1" "2 1 2" "4 2 2" "4 2 1" "8 2 2"; do
        # shellcheck disable=SC2086  # three words
        set -- $layout
        job 2 "$1" "$model" many.h5 --restart-over --tp-size "$2" --pp-size "$3"
        expect "$model, tp $2 x pp $3 on $1 ranks" 0 "12/12 rows"
        same one many "$model, tp $2 x pp $3 on $1 ranks: the same answers"
    done
done

# Drawn, not only taken: the rank of a replica that draws does so as one rank alone does, by lists
# that belong to a row and by masks.
for how in "--top-p 0.9" "--frequency-penalty 0.5 --min-tokens 5 --stop-token-id 7 --logprobs 3" \
    "--regex [a-c0-9]{8,}"; do
    how="$how --temperature 0.9 --seed 5"
    # shellcheck disable=SC2086  # options
    job 1 1 llama one.h5 --restart-over $how
    # shellcheck disable=SC2086  # options
    job 2 4 llama many.h5 --restart-over $how --tp-size 2 --pp-size 2
    # Sums over ranks: the last bits of log probabilities are others.
    same one many "drawn tokens are the same: $how" logprobs top_logprobs
done

# What was begun with one layout goes on with another. Two prompts at once: slow enough to be halted.
awk 'BEGIN { for (i = 0; i < 160; i++) printf "{\"prompt\": \"prompt %d\"}\n", i }' >prompts.jsonl
"$antiphon" pack prompts.jsonl -o p.h5 --force >/dev/null || exit 1
long="--max-tokens 250 --save-every 0.2"
last=
for how in "llama 4 2 2 1 1 1" "llama 2 1 2 4 2 1" "mixtral 4 1 2 2 2 1" "phimoe 2 2 1 4 1 2"; do
    # shellcheck disable=SC2086  # a word and six numbers
    set -- $how
    # shellcheck disable=SC2086  # options
    [ "$1" = "$last" ] || job 1 1 "$1" one.h5 --restart-over $long
    last=$1
    rm -rf many.h5 many.h5.journal
    # shellcheck disable=SC2086  # options
    job 2 "$2" "$1" many.h5 $long --max-num-seqs 2 --tp-size "$3" --pp-size "$4" &
    while kill -0 $! 2>/dev/null && [ "$(journal_bytes many)" -lt 8000 ]; do
        sleep 0.1
    done
    "$antiphon" halt many.h5 --now >/dev/null
    wait $!
    if [ -e many.h5 ]; then
        not_ok "$1, tp $3 x pp $4 is halted half way" "it was done already"
        continue
    fi
    # shellcheck disable=SC2086  # options
    job 2 "$5" "$1" many.h5 $long --tp-size "$6" --pp-size "$7"
    expect "$1, from tp $3 x pp $4 to tp $6 x pp $7" 0 "160/160 rows"
    same one many "$1, from tp $3 x pp $4 to tp $6 x pp $7: the same answers"
done

# Weights: each host reads what it needs, or of what all need a part, and the others get it. Nodes of a
# private Slurm are one host, unless they have names of their own.
cat >apart <<TEXT
#!/bin/sh
exec unshare --uts sh -c 'hostname "\$SLURMD_NODENAME" && exec "\$0" "\$@"' "$antiphon" "\$@"
TEXT
chmod +x apart
# bytes FILE: read by all ranks together.
bytes() {
    h5dump -d /performance/read_bytes -y -w 0 "$1" | grep -E '^ *[0-9]+' | tr -d ' ' |
        awk -F, '{ for (i = 1; i <= NF; i++) n += $i } END { print n }'
}
if unshare --uts true 2>/dev/null; then models="llama mixtral"; else models=; fi
[ -n "$models" ] || skip unshare "weights read once for two hosts" "no host names of one's own here"
for model in $models; do
    job 1 1 "$model" one.h5 --restart-over
    antiphon=$tmp/apart
    job 2 4 "$model" many.h5 --restart-over --load read
    expect "$model, read on each host" 0 "160/160 rows"
    all=$(bytes one.h5) twice=$(bytes many.h5)
    job 2 4 "$model" many.h5 --restart-over --load broadcast
    expect "$model, broadcast" 0 "160/160 rows" "a part on each host, and broadcast"
    same one many "$model, broadcast: the same answers"
    what="$model: one rank reads $all bytes, two hosts $twice, broadcast $(bytes many.h5)"
    if [ "$all" -gt 0 ] && [ "$twice" -eq $((2 * all)) ] && [ "$(bytes many.h5)" -eq "$all" ]; then
        ok "$what"
    else
        not_ok "$what" "not once, twice and once"
    fi
    job 2 8 "$model" many.h5 --restart-over --load broadcast --tp-size 2 --pp-size 2
    expect "$model, broadcast of parts" 0 "160/160 rows"
    same one many "$model, broadcast of parts: the same answers"
    antiphon=$TOP_BUILDDIR/src/antiphon
done

job 2 3 llama many.h5 --restart-over --tp-size 2
expect "ranks that make no whole replicas" 64 "3"
job 2 5 llama many.h5 --restart-over --tp-size 5
expect "heads that cannot be split" 64 "choose another --tp-size"

done_testing
