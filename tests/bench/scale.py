# SPDX-License-Identifier: MIT
"""Growth: rows scale-STEP-N, seconds of the processors and bytes at the peak.

A dataset of N short records and random features of it (bench_pool), then raise-cluster with
neighbours and a target's columns, raise-ppo --init, raise-plan near, and raise-export of a
thousand records. The peer of a row is the same at a tenth of N, the ratio how much of ten times as
much it takes: 1 is linear. RAISE_SIZES [100k 1m], RAISE_DIM [32].
"""
import os
import shutil
import subprocess


def spent(argv, out=None):
    """(seconds of the processors, bytes at the peak) of a command."""
    with open(out or os.devnull, "wb") as f:
        p = subprocess.Popen(argv, stdout=f, stderr=subprocess.PIPE)
        said = p.stderr.read()
        _, status, used = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode:
        raise OSError("%s: %s" % (" ".join(argv), said.decode(errors="replace").strip()))
    return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def write_data(path, n):
    with open(path, "w", encoding="utf-8") as f:
        for i in range(n):
            f.write('{"prompt":"what is %d and %d","completion":"it is %d"}\n' % (
                i, i * 7 % 1000, i % 97))


def steps(build, folder, dim, n):
    exe = lambda name: os.path.join(build, name)
    at = lambda name: os.path.join(folder, name)
    write_data(at("d.jsonl"), n)
    subprocess.run([exe("bench/bench_pool"), at("d.jsonl"), str(dim), at("pool.st.zst")],
                   check=True)
    yield "cluster", spent([exe("raise-cluster"), "-q", "-k", "8", "-o", at("f.st.zst"),
                            at("pool.st.zst")])
    yield "policy", spent([exe("raise-ppo"), "-q", "--init", "-f", at("f.st.zst"), "-o",
                           at("p.st.zst")])
    yield "plan", spent([exe("raise-plan"), "-q", "-T", "62", "-f", at("f.st.zst"), "-o",
                         at("plan.st.zst"), "near"])
    yield "export", spent([exe("raise-export"), "-q", "-n", "1000", "--sample", "-o",
                           at("x.jsonl"), at("d.jsonl")])


def number(text):
    return int(float(text[:-1]) * {"k": 1e3, "m": 1e6}[text[-1]] if text[-1] in "km" else text)


def all_sizes(table, build):
    folder = os.path.join(os.environ.get("RAISE_SCRATCH", os.path.join(build, "bench")), "scale")
    dim, before = int(os.environ.get("RAISE_DIM", "32")), {}
    for size in os.environ.get("RAISE_SIZES", "100k 1m").split():
        n = number(size)
        os.makedirs(folder, exist_ok=True)
        try:
            for step, (seconds, peak) in steps(build, folder, dim, n):
                for what, x, unit in (("", seconds, "s"), ("-memory", peak, "bytes")):
                    was = before.get((step, what, n // 10))
                    table.add("scale-%s%s-%s" % (step, what, size), x, was,
                              was and x / was / 10, unit)
                    before[step, what, n] = x
        finally:
            shutil.rmtree(folder, ignore_errors=True)
