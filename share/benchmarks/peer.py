# SPDX-License-Identifier: Apache-2.0
"""peer.py vllm|openvino|llama-server MODEL THREADS: loads the model once; then each line of standard input is a
list of [prompt tokens, answer tokens] as JSON, answered with "RESULT {"wall_s": seconds}".
Started by side-by-side; LLAMA_SERVER in the environment is that program."""
import atexit
import concurrent.futures
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import time

MAX_LENGTH = 2048
KV_GIB = 6
SLOTS, SLOT_LENGTH = 64, 1024


def vllm(model, threads):
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(KV_GIB)
    cores = sorted(os.sched_getaffinity(0))[:threads]
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, cores))
    os.environ["VLLM_CPU_NUM_OF_RESERVED_CPU"] = "0"
    os.environ["VLLM_LOGGING_LEVEL"] = "WARNING"
    from vllm import LLM, SamplingParams
    llm = LLM(model, dtype="bfloat16", max_num_seqs=256, max_model_len=MAX_LENGTH,
              enable_prefix_caching=False, max_num_batched_tokens=4096, seed=0)

    def generate(prompts, outputs):
        llm.generate([{"prompt_token_ids": ids} for ids in prompts],
                     [SamplingParams(temperature=0, max_tokens=n, ignore_eos=True,
                                     detokenize=False) for n in outputs], use_tqdm=False)
    return generate


def openvino(model, threads):
    import numpy
    import openvino
    import openvino_genai
    config = openvino_genai.SchedulerConfig()
    config.max_num_seqs = 256
    config.max_num_batched_tokens = 4096
    config.cache_size = KV_GIB
    config.dynamic_split_fuse = True
    config.enable_prefix_caching = False
    pipeline = openvino_genai.ContinuousBatchingPipeline(
        model, scheduler_config=config, device="CPU", properties={"INFERENCE_NUM_THREADS": threads})

    def settings(n):
        generation = openvino_genai.GenerationConfig()
        generation.max_new_tokens = generation.min_new_tokens = n
        generation.ignore_eos = True
        generation.do_sample = False
        return generation

    def generate(prompts, outputs):
        pipeline.generate([openvino.Tensor(numpy.array([ids], dtype=numpy.int64))
                           for ids in prompts], [settings(n) for n in outputs])
    return generate


def llama_server(model, threads):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([
        os.environ["LLAMA_SERVER"], "-m", model, "--host", "127.0.0.1", "--port", str(port),
        "-t", str(threads), "-tb", str(threads), "-c", str(SLOTS * SLOT_LENGTH), "-np", str(SLOTS),
        "-b", "2048", "-ub", "512", "-fa", "off", "-no-kvu", "-cram", "0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    atexit.register(server.terminate)

    def ask(method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def answer(ids, n):
        if ask("POST", "/completion", json.dumps({
                "prompt": ids, "n_predict": n, "ignore_eos": True, "cache_prompt": False,
                "temperature": 0, "samplers": ["top_k"], "top_k": 1})) != 200:
            sys.exit("llama-server refuses a prompt")

    def is_ready():
        try:
            return ask("GET", "/health") == 200
        except OSError:
            return False

    while server.poll() is None and not is_ready():
        time.sleep(0.1)

    def generate(prompts, outputs):
        with concurrent.futures.ThreadPoolExecutor(SLOTS) as pool:
            list(pool.map(answer, prompts, outputs))
    return generate


def main():
    name, model, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    generate = {"vllm": vllm, "openvino": openvino,
                "llama-server": llama_server}[name](model, threads)
    draw = random.Random(1)
    for line in sys.stdin:
        lengths = json.loads(line)
        prompts = [[draw.randrange(300, 40000) for _ in range(n)] for n, _ in lengths]
        begin = time.perf_counter()
        generate(prompts, [n for _, n in lengths])
        print("RESULT", json.dumps({"wall_s": time.perf_counter() - begin}), flush=True)


if __name__ == "__main__":
    main()
