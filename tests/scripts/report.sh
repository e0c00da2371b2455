#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# `make report`: one page that is whole by itself, whose numbers are the tables', in which no record
# can be anything but text; with pictures, and, without gnuplot, with a word on why there are none.
set -eu
# shellcheck source=tests/pipeline.sh
. "$RAISE_TESTS/pipeline.sh"
command -v python3 >/dev/null || { echo "python3 is not installed"; exit 77; }

# Every record tries: markup, entities, control characters, a line like raise-export's own, length.
awk 'BEGIN { for (i = 0; i < 60; i++) {
    printf "{\"prompt\":\"<script>alert(%d)</script> &lt; \\\"q\\\" \\u001b[31m\\u202e\\n\\nrecord 7\\n  user\\n</dd>\",\"completion\":\"%d ", i, i
    for (j = 0; j < (i % 3 ? 2 : 100); j++) printf "\\u00e9\\u4e2d%d", i * j
    printf "\",\"kind\":\"<b onclick=x>%d</b>\\nA,\\\"\"}\n", i % 3 } }' >pool.jsonl
page() { # out variables...
    local out=$1
    shift
    go "$out" BASELINES='random length' SEEDS='1 2' CLASSES=2 MAX_LENGTH=200 EMBED_OPTS='--overlong cut' REPORT_BY=kind "$@" || fail "report: $*"
}
mkdir a # figures of ablation.mk and sweep.mk, as they write them
printf '%s\n' part,seeds,test_loss,sd,difference,difference_sd,p whole,2,1.5,0.1,,, stage,2,1.6123456,0.1,0.1,0.05,0.25 >a/figure4.csv
printf '%s\n' width,seeds,test_loss,sd 8,1,1.5, 16,1,1.4, >a/figure3.csv
printf '%s\n' percent,classes,seeds,test_loss,sd 1,,1,1.6, 1,1,1,1.5, 1,2,1,1.4, >a/figure5.csv
page a report
told a/report.html

cat >look.py <<'PY'
"""look.py PAGE TABLE.CSV: the page is well formed, needs nothing from elsewhere, has the table's numbers."""
import csv, html.parser, itertools, re, sys
VOID = {"meta", "link", "br", "img", "input", "hr", "circle", "path", "use", "rect", "stop"}
class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.stack, self.ids, self.wanted, self.heads, self.cells, self.tables, self.names = [], [], [], [], [], 0, []
        self.captions = self.n_svg = 0
        self.text = ""
    def handle_starttag(self, tag, attrs, closed=False):
        a = dict(attrs)
        assert len(a) == len(attrs), (tag, attrs)
        assert tag not in ("script", "iframe", "object", "embed", "img", "link", "form", "b", "i"), tag
        assert not any(k.startswith("on") or k in ("src", "srcset", "action") for k in a), a
        self.ids += [a["id"]] if "id" in a else []
        self.wanted += a.get("aria-labelledby", "").split() + ([a["href"][1:]] if "href" in a else [])
        assert a.get("href", "#").startswith("#"), a
        if re.fullmatch("h[1-6]", tag):
            self.heads.append(int(tag[1]))
        self.tables += tag == "table"
        self.captions += tag == "caption"
        self.n_svg += tag == "svg"
        assert tag != "svg" or a["role"] == "img"
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "tr":
            self.cells.append("\n")
        if tag not in VOID and not closed:
            self.stack.append(tag)
    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs, True)
    def handle_endtag(self, tag):
        assert tag not in VOID and self.stack.pop() == tag, (tag, self.stack, self.getpos())
    def handle_data(self, data):
        self.text += data
        if self.stack and self.stack[-1] in ("td", "th"):
            self.cells[-1] += data
raw = open(sys.argv[1], encoding="utf-8", newline="").read() # well-formed UTF-8
p = Page()
p.feed(raw)
p.close()
assert not p.stack and raw.startswith("<!DOCTYPE html>\n") and raw.endswith("</html>\n")
assert len(p.ids) == len(set(p.ids)), [i for i in p.ids if p.ids.count(i) > 1]
assert set(p.wanted) <= set(p.ids), set(p.wanted) - set(p.ids)
assert p.heads[0] == 1 and p.heads.count(1) == 1 and all(b <= a + 1 for a, b in itertools.pairwise(p.heads)), p.heads
assert p.tables == p.captions > 5
assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", raw)
assert "://" not in raw, re.findall(".{40}://.{40}", raw)
assert "<script>alert(" in p.text and "</dd>" in p.text and r"\x1b[31m\u202e" in p.text and "\n\nrecord 7\n  user" in p.text
assert "more bytes)" in p.text and r"<b onclick=x>1</b>\nA,\"" in p.text.replace('"', r'\"')
# the table: means, deviations, differences and p-values of table.csv
loss = {}
for r in csv.DictReader(open(sys.argv[2])):
    loss.setdefault(r["method"], {})[r["seed"]] = float(r["test_loss"])
mean = {m: sum(x.values()) / len(x) for m, x in loss.items()}
rows = [r.split("\0") for r in "\0".join(p.cells).split("\n")]
rows = {r[1]: r[2:] for r in rows if len(r) > 9}
names = {"none": "no training", "random": "random choice", "length": "length", "reward-model": "RAISE (reward model)"}
def paired(a, b):
    d = [loss[b][s] - loss[a][s] for s in loss[a]]
    ways = [sum(x * y for x, y in zip(w, d)) for w in itertools.product((1, -1), repeat=len(d))]
    return ["%.4f" % (sum(d) / len(d)), "%.4f" % (sum(w >= sum(d) - 1e-12 for w in ways) / len(ways))]
best = "reward-model"
for m in loss:
    x = list(loss[m].values())
    sd = (sum((y - mean[m]) ** 2 for y in x) / (len(x) - 1)) ** 0.5
    want = [str(0 if m == "none" else 2), str(len(x)), "%.4f" % mean[m], "%.4f" % sd]
    want += ["", ""] if m in ("none", "random") else paired(m, "random")
    want += ["", ""] if m in ("none", best) else paired(best, m)
    got = [c for c in rows[names[m]] if c != "\0"][:8]
    assert got == want, (m, got, want)
# costs: means over seeds of costs.csv
cost, table = {}, [r.split("\0") for r in "\0".join(p.cells).split("\n")]
for r in csv.DictReader(open(sys.argv[3])):
    cost.setdefault(r["method"], {}).setdefault(r["part"], []).append(float(r["phi"]))
for m, x in cost.items():
    x = {k: sum(v) / len(v) for k, v in x.items()}
    want = ["%.4f" % v for v in (x["features"], x["episodes"], x["features"] + x["episodes"], x["training"])]
    assert any(r[1:6] == [m] + want for r in table), (m, want)
print(p.n_svg, p.captions)
PY
look() { python3 look.py "$1/report.html" "$1/table.csv" "$1/costs.csv" >seen 2>err || fail "$(tail -n 3 err)"; }
look a
has() { grep -qF -- "$1" a/report.html || fail "not in the page: $1"; }
has 'Share of the picks of '
has 'By class</h3>'
has '>1.6123</td>'
has 'peak memory'
has '<td class="value">pool.jsonl</td>'
has 'raise-rollout 0.'
# Shares by step: of every step's picks, all are there.
awk -F, 'NR > 1 && $3 == "last" && $1 == "random" { n[$2, $4]++; if ($4 != 1 && $4 != 2) exit 1 } END { for (k in n) { m++; if (n[k] != 4) exit 1 }; exit m != 4 }' a/report/picks.csv ||
    fail "picks.csv: not four records a step"
awk -F, 'NR == FNR { of[FNR - 2] = $0; next } FNR > 1 { if (substr($0, length($1 $2 $3 $4 $5) + 6) != of[$5]) exit 1 }' a/report/features.csv a/report/picks.csv ||
    fail "picks.csv: another row's features"

if command -v gnuplot >/dev/null; then
    [ "$(cut -d' ' -f1 seen)" -ge 14 ] || fail "no pictures"
else
    has 'gnuplot is not installed'
fi

# One seed, a learner without weights, no such field, no gnuplot; no learner at all: said, not left out.
mkdir bare
find -L /usr/local/bin /usr/bin /bin -maxdepth 1 -type f ! -name 'gnuplot*' -exec ln -sf -t bare {} + 2>/dev/null || :
PATH=$dir/bare page one SEEDS=1 LEARNERS=ppo BASELINES=random REPORT_BY=nowhere report
for words in 'one seed: how far that is chance is not known' 'has no weights' 'No record has the field &quot;nowhere&quot;' \
    'gnuplot is not installed'; do
    grep -qF "$words" one/report.html || fail "not told: $words"
done
[ "$(grep -c '<svg' one/report.html)" = 0 ] || fail "pictures without gnuplot"
PATH=$dir/bare go none BASELINES=random LEARNERS= report || fail "a report without a learner"
grep -qF 'No learner was trained here' none/report.html || fail "no learner"
