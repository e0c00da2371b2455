# SPDX-License-Identifier: MIT
"""A whole selection, and what it takes in units of full training: rows run-*.

pipelines/gsm8k.mk with the reward model: RAISE_LIMIT [4000] records of RAISE_ALPACA towards RAISE_VAL,
tested on RAISE_TEST (GSM8K), RAISE_EPISODES [5], T at 1 % of three epochs' steps. Phi is three epochs of
LoRA on all these records in batches of 16, extrapolated from RAISE_STEPS [8] measured steps: the time
of an episode of a random plan of three times as many steps, less that of the plan, over twice that
number, with one record of validation.

    run-KIND    the processors' seconds of the pipeline's jobs of that kind; the peer is Phi
    run-all     the sum, without the last episode, whose training is what was selected for
    run-peer    the same selection by transformers and peft, as peer_run.py has it: the peer is
                the seconds of the clock that its measured parts are extrapolated to, ours that of
                the pipeline
"""
import csv
import os
import shutil
import subprocess

BATCH, EPOCHS = 16, 3


def cpu_seconds(argv):
    p = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = p.stderr.read()
    _, status, used = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode:
        raise OSError("%s: %s" % (argv[0], said.decode(errors="replace").strip()))
    return used.ru_utime + used.ru_stime


def setting(name, default=None):
    value = os.environ.get("RAISE_" + name, default)
    if value is None:
        raise OSError("RAISE_%s is not set" % name)
    return value


def pipeline(build, out, model, data):
    argv = ["make", "-f", "pipelines/gsm8k.mk", "BUILD=" + build, "OUT=" + out, "MODEL=" + model,
            "DATA=" + data, "VAL=" + setting("VAL"), "TEST=" + setting("TEST"), "SEEDS=1",
            "LIMIT=" + setting("LIMIT", "4000"), "EPISODES=" + setting("EPISODES", "5"),
            "LEARNERS=reward-model", "BASELINES=", "PERCENT=1", "EPOCHS=%d" % EPOCHS,
            "BATCH=%d" % BATCH] + os.environ.get("RAISE_RUN_OPTS", "").split()
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, env=env)
    with open(os.path.join(out, "times.csv"), newline="") as f:
        return list(csv.DictReader(f))


def seconds_a_step(build, out, model, data, n):
    exe = lambda name: os.path.join(build, name)
    at = lambda name: os.path.join(out, name)
    with open(at("s1/val.jsonl"), encoding="utf-8") as f, open(at("one.jsonl"), "w") as g:
        g.write(f.readline())
    spent = []
    for k in (n, 3 * n):
        subprocess.run([exe("raise-plan"), "-q", "--repeats", "-T", str(k), "-b", str(BATCH), "-f",
                        at("features.st.zst"), "-o", at("phi.st.zst"), "random"], check=True)
        opts = [x for x in os.environ.get("RAISE_ENCODE", "").split()]
        spent.append(cpu_seconds([exe("raise-rollout"), "-q", "-f", at("features.st.zst"), "-m", model,
                                  "-d", data, "--val", at("one.jsonl"), "--plan",
                                  at("phi.st.zst"), "-o", at("phi.traj"), *opts]))
    return (spent[1] - spent[0]) / (2 * n)


def rows(table, build, here, model, data, python, note):
    out = os.path.join(build, "bench", "run")
    shutil.rmtree(out, ignore_errors=True)
    jobs = pipeline(build, out, model, data)
    with open(os.path.join(out, "pool.tokens"), encoding="utf-8") as f:
        n_rows = int(f.read().split()[0])
    with open(os.path.join(out, "steps"), encoding="utf-8") as f:
        n_steps = int(f.read().split()[0])
    phi = seconds_a_step(build, out, model, data, int(setting("STEPS", "8"))) * n_rows * EPOCHS / BATCH
    by_kind = {}
    for j in jobs:
        by_kind[j["kind"]] = by_kind.get(j["kind"], 0) + float(j["cpu_seconds"] or 0)
    for kind, x in by_kind.items():
        table.add("run-" + kind, x, phi, x / phi, "s")
    total = sum(x for kind, x in by_kind.items() if kind != "last")
    table.add("run-all", total, phi, total / phi, "s")
    if not python():
        return
    wall = sum(float(j["seconds"]) for j in jobs if j["kind"] != "last")
    answer = subprocess.run(
        [python(), os.path.join(here, "peer_run.py"), model, data,
         os.path.join(out, "s1/val.jsonl"), str(n_rows), setting("EPISODES", "5"), str(n_steps),
         setting("STEPS", "8")], check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    note("run-peer: extrapolated from %s records embedded and %s steps" % (answer[1], answer[2]))
    table.add("run-peer", wall, float(answer[0]), float(answer[0]) / wall, "s")
