#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Writes the page of a run to standard output: report.sh NAME=VALUE ..., the run's variables. What it
# is made of stays in OUT/report: CSV files, records as text, pictures. gnuplot is not needed; without
# it there are no pictures, and the page says so.
# shellcheck disable=SC2016 # the dollars in single quotes are awk's
set -euo pipefail
export LC_ALL=C
declare -A var features_of pool_of episodes_of updates_of
names=()
for a; do
    name=${a%%=*} value=${a#*=}
    case $name in
    method:*) IFS=: read -r "features_of[${name#*:}]" "pool_of[${name#*:}]" "episodes_of[${name#*:}]" "updates_of[${name#*:}]" <<<"$value" ;;
    *) var[$name]=$value && names+=("$name") ;;
    esac
done
here=${BASH_SOURCE%/*}/ out=${var[OUT]} parts=${var[OUT]}/report
read -ra learners <<<"${var[LEARNERS]}"
read -ra baselines <<<"${var[BASELINES]}"
read -ra seeds <<<"${var[SEEDS]}"
mkdir -p "$parts"
rm -f "$parts"/*

view() { "${var[BIN]}raise-view" "$@"; }
results() { # part
    awk -F, -v learners="${var[LEARNERS]}" -v part="$1" -v means="$parts/means.csv" -f "$here"results.awk -f "$here"html.awk \
        -f "$here"report-table.awk "$out/table.csv"
}
page() { awk "$(cat "$here"html.awk) $1"; } # a program over lines, with esc() and the like
escaped() { page '{ print esc($0) }'; }
section() { # id title
    printf '</section>\n<section aria-labelledby="%s">\n<h2 id="%s">%s</h2>\n' "$1" "$1" "$2"
}
note() { printf '<p class="note">%s</p>\n' "$(escaped <<<"$1")"; }
picture() { # name file title text height options...: one for wide pages, one for narrow ones
    local name=$1 file=$2 title=$3 text=$4 height=$5 class width
    shift 5
    printf '<figure><figcaption><strong>%s</strong>: %s</figcaption>\n' "$(escaped <<<"$title")" "$(escaped <<<"$text")"
    for class in wide narrow; do
        [ $class = wide ] && width=760 || width=350
        gnuplot -e "here='$here'; svg='$parts/$name.svg'; width=$width; height=$height; name='${name//-/_}_${class}_'; $*" "$here$file.gp"
        awk -v id="$name-$class" -v class=$class -v title="$title" -v text="$text" -f "$here"html.awk \
            -f "$here"report-svg.awk "$parts/$name.svg"
    done
    echo '</figure>'
}
part() { # NAME=VALUE... file: a table of it (report-parts.awk)
    awk -F, "${@:1:$#-1}" -f "$here"html.awk -f "$here"report-parts.awk "${@: -1}"
}
has_gnuplot=$(command -v gnuplot || :)

# The learner to tell of: the best by its mean test loss; its first seed, where one must be chosen. Methods
# with another pool than its have rows of their own, and are not beside it.
best=$(results best)
first=${seeds[0]}
features=${features_of[${best:-none}]-$out/features.st.zst} pool=${pool_of[${best:-none}]-${var[POOL]}}
beside=()
for m in "${learners[@]}" "${baselines[@]}"; do
    [ "${pool_of[$m]}" != "$pool" ] || beside+=("$m")
done

# ---- what the page is made of ----
last_of() { printf '%s/%s/s%s/final.st.zst' "$out" "$1" "$2"; }
view "$features" | awk '/^tensors/ { is_on = 1; next } /^history/ { is_on = 0 } is_on { print $1 }' >"$parts/columns"
has() { grep -qxF "$1" "$parts/columns"; }
columns=source,class,len_x,len_y,logp_yx
for c in near gain_sum consistency influence; do
    ! has $c || columns+=,$c
done
view --table $columns "$features" >"$parts/features.csv"

picks_of() { # method seed episode file: rows without a heading
    view --table list_offset "$4" >"$parts/offsets"
    view --table pick "$4" >"$parts/pick"
    awk -v at="$1,$2,$3" -v n_classes="$(view --meta raise.n_classes "$4")" 'FNR == 1 { next }
        NR == FNR { offset[n++] = $1; next }
        { while (offset[k + 1] <= FNR - 2) k++; print at "," int(k / n_classes) + 1 "," $1 }' "$parts/offsets" "$parts/pick"
}
for s in "${seeds[@]}"; do
    for m in "${beside[@]}"; do
        picks_of "$m" "$s" last "$(last_of "$m" "$s")"
    done
    for ((k = 1; k <= ${episodes_of[${best:-none}]-0}; k++)); do
        picks_of "$best" "$s" "$k" "$out/$best/s$s/traj.$k.st.zst"
    done
done | awk -F, 'NR == FNR { of[FNR - 2] = $0; if (FNR == 1) print "method,seed,episode,step,row," $0; next } { print $0 "," of[$5] }' \
    "$parts/features.csv" - >"$parts/picks.csv"

# The field of the records that picks are shown by, if a record has it.
: >"$parts/kinds"
if [ -n "${var[REPORT_BY]}" ]; then
    tail -n +2 "$parts/features.csv" | cut -d, -f1 >"$parts/sources"
    "${var[BIN]}raise-export" -q --on-error skip -F text --field "${var[REPORT_BY]}" --records "$parts/sources" "$pool" >"$parts/kinds"
fi
has_kinds=$(grep -m 1 . "$parts/kinds" || :)

# ---- the page ----
cat <<HTML
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>RAISE: $(escaped <<<"$out")</title>
<style>
$(cat "$here"report.css)
</style>
</head>
<body>
<a class="skip" href="#verdict">To the verdict</a>
<header>
<h1>RAISE: $(escaped <<<"$out")</h1>
<p class="note">Which records of $(escaped <<<"$pool") make $(escaped <<<"${var[MODEL]}") good at those of $(escaped <<<"${var[VAL]}").</p>
<nav aria-label="Contents"><ul>
HTML
contents() { printf '<li><a href="#%s">%s</a></li>\n' "$@"; }
contents verdict Verdict losses Losses
[ -z "$(compgen -G "$out/figure*.csv")" ] || contents parts 'Parts and sizes'
contents episodes Episodes when 'What was picked, and when' likes 'What the target likes' \
    records Records costs Costs made 'How it was made'
cat <<HTML
</ul></nav>
</header>
<main>
<section aria-labelledby="verdict">
<h2 id="verdict">Verdict</h2>
HTML
results verdict
results table
[ -n "$has_gnuplot" ] || note 'No pictures: gnuplot is not installed (on Debian: apt-get install gnuplot-nox). The numbers are in the tables.'
if [ -n "$has_gnuplot" ]; then
    results points >"$parts/points.csv"
    picture results results 'Test loss' 'every seed as a ring, their mean as a dot; best above' \
        $((90 + 26 * $(wc -l <"$parts/means.csv"))) "csv='$parts/points.csv'; means='$parts/means.csv'"
fi

if [ -s "$out/eval.csv" ] && [ "$(wc -l <"$out/eval.csv")" -gt 1 ]; then
    echo '<h3>Other measures</h3>'
    part -v part=evals "$out/eval.csv"
fi

numbers() { # id caption first-column file key-column value-column: means over seeds, a column a method
    echo '<details><summary>The numbers</summary>'
    awk -F, -v id="$1" -v caption="$2" -v head="$3" -v key="$5" -v value="$6" -f "$here"html.awk -f "$here"report-means.awk "$4"
    echo '</details>'
}
section losses Losses
[ -z "$has_gnuplot" ] || picture loss loss 'Validation loss by step' 'of the last episode of each method; mean of seeds' 420 "csv='$out/loss.csv'"
numbers loss-numbers 'Validation loss after each step, nats a token; mean of seeds.' step "$out/loss.csv" 3 4

figure() { # number title text height
    [ -s "$out/figure$1.csv" ] || return 0
    [ -z "$has_gnuplot" ] || picture "figure-$1" "figure$1" "$2" "$3" "$4" "csv='$out/figure$1.csv'"
    echo '<details><summary>The numbers</summary>'
    part -v part=plain -v id="figure-$1-numbers" -v caption="$2: $3." "$out/figure$1.csv"
    echo '</details>'
}
if [ -n "$(compgen -G "$out/figure*.csv")" ]; then
    section parts 'Parts and sizes'
    figure 4 'What each part is worth' 'what the test loss rises by where it is left out' $((100 + 22 * $(wc -l <"$out/figure4.csv" 2>/dev/null || echo 0)))
    figure 3 'Width of the embedding' 'test loss by the numbers an embedding is cut down to' 360
    figure 5 'Classes' 'test loss by number of classes, at several lengths of training' 360
fi

section episodes Episodes
if [ "$(wc -l <"$out/episodes.csv")" -gt 1 ]; then
    note 'How far the validation loss fell in each training episode. A learner that learns brings more, or explores; an episode that ended badly brought no number.'
    [ -z "$has_gnuplot" ] || picture episodes episodes 'What an episode brought' 'drop in validation loss from its first to its last step: every seed, and their mean' 360 "csv='$out/episodes.csv'"
    numbers episode-numbers 'Drop in validation loss by training episode, nats a token; mean of seeds.' episode "$out/episodes.csv" 3 4
else
    note 'No learner was trained in episodes here.'
fi

# ---- what was picked ----
mean_by_step() { # column of picks.csv: method,step,mean; and the pool's mean in $pool_mean
    awk -F, -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; print "method,step,mean"; next }
        $3 == "last" { x = name == "loss" ? -$at["logp_yx"] / $at["len_y"] : $at[name]; if (!(($1, $4) in n)) order[++m] = $1 "," $4
            n[$1, $4]++; sum[$1, $4] += x }
        END { for (i = 1; i <= m; i++) { split(order[i], k, ","); print order[i] "," sum[k[1], k[2]] / n[k[1], k[2]] } }' "$parts/picks.csv" >"$parts/mean-$1.csv"
    pool_mean=$(awk -F, -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
        { sum += name == "loss" ? -$at["logp_yx"] / $at["len_y"] : $at[name] } END { print sum / (NR - 1) }' "$parts/features.csv")
}
shares() { # id by caption [kinds]
    awk -F, -v method="$best" -v by="$2" -v id="$1" -v caption="$3" -v names="${4-}" -f "$here"html.awk \
        -f "$here"report-shares.awk "$parts/picks.csv" "$parts/features.csv"
}
section when 'What was picked, and when'
if [ -n "$best" ] && [ "$(view --meta raise.mode "$(last_of "$best" "$first")")" = best ]; then
    note "$best deploys its best records as one shuffled list: over the steps of its last episode no trend is to be expected."
fi
if [ -n "$has_gnuplot" ]; then
    while read -r column unit title; do
        [ "$column" = loss ] || has "$column" || continue
        mean_by_step "$column"
        picture "when-$column" when "$title" 'mean of the records picked at each step of the last episode, beside that of the whole pool' 360 \
            "csv='$parts/mean-$column.csv'; unit='${unit//_/ }'; pool=$pool_mean"
    done <<'ROWS'
len_y tokens Length of the responses
loss nats_a_token Difficulty: the loss that the untrained model has on them
near cosine Likeness to the target
ROWS
fi
if [ -n "$best" ]; then
    seeds_text="${#seeds[@]} seed$([ ${#seeds[@]} = 1 ] || echo s)"
    if [ -n "$has_kinds" ]; then
        echo "<h3>By $(escaped <<<"${var[REPORT_BY]}")</h3>"
        shares kinds-step step "Share of the picks of $best by field \"${var[REPORT_BY]}\" and step of the last episode, $seeds_text; beside the pool's." "$parts/kinds"
        shares kinds-episode episode "The same by training episode." "$parts/kinds"
    elif [ -n "${var[REPORT_BY]}" ]; then
        note "No record has the field \"${var[REPORT_BY]}\"; REPORT_BY= names one that tells where a record comes from."
    fi
    echo '<h3>By class</h3>'
    if [ "$(view --meta raise.n_classes "$(last_of "$best" "$first")")" = 1 ]; then
        note 'All records are of one class (CLASSES=1).'
    else
        shares class-step step "Share of the picks of $best by class and step of the last episode, $seeds_text; beside the pool's."
        shares class-episode episode "The same by training episode."
    fi
fi

# ---- records as text ----
records() { # file of lines "NUMBER<tab>note", in their order
    cut -f1 "$1" >"$parts/numbers"
    echo '<div class="records">'
    if [ -s "$parts/numbers" ]; then
        "${var[BIN]}raise-export" -q --on-error skip -F text --records "$parts/numbers" "$pool" >"$parts/records.txt"
        awk -v notes="$1" -f "$here"html.awk -f "$here"report-records.awk "$parts/records.txt"
    fi
    echo '</div>'
}
liked() { # feature places: of liked.csv, at one end
    awk -F, -v f="$1" -v sign="$2" '$1 == f && $2 * sign > 0 { printf "%s\tplace %d, liking %.3g\n", $4, $2 * sign, $5 }' "$parts/liked.csv" >"$parts/notes"
    records "$parts/notes"
}
in_words() { # feature
    case $1 in
    score) echo 'All weights together' ;;
    len_x) echo 'Length of the prompt' ;;
    len_y) echo 'Length of the response' ;;
    logp_yx) echo 'How well the untrained model expects the response, given the prompt' ;;
    logp_y) echo 'How well the untrained model expects the response without the prompt' ;;
    embedding_*) echo "Direction ${1#embedding_} of the embedding" ;;
    near) echo 'Likeness to a record of the target' ;;
    gain_sum) echo 'Gain: what training on the target does for the response' ;;
    gain_length) echo 'Gain, by the root of the length' ;;
    gain_loss) echo 'Gain, by the loss' ;;
    consistency) echo 'How well the prompt explains the response, beside similar records' ;;
    influence) echo 'Influence on the target (LESS)' ;;
    n_turns) echo 'Number of turns' ;;
    chars_y) echo 'Characters of the response' ;;
    given_*) echo "Number ${1#given_} of those that the records carry" ;;
    *) echo "$1" ;;
    esac
}
section likes 'What the target likes'
policy=$out/$best/s$first/policy.${updates_of[${best:-none}]-}.st.zst
if [ -n "$best" ] && "${var[BIN]}raise-ppo" -q -p "$policy" -f "$features" --weights "$parts/weights.csv" --liked "$parts/liked.csv" 2>"$parts/why-not"; then
    # Strongest first, in standard errors; those that are more than two from zero are told in words.
    awk -F, 'NR > 1 && $2 != 0 { z = $2 / $3; printf "%.6f,%s,%s,%s,%s\n", z < 0 ? -z : z, $1, $2, $3, $4 }' "$parts/weights.csv" |
        sort -t, -k1,1rg -k2,2 >"$parts/strongest.csv"
    note "The weights of $best, seed $first: by how much a unit of a column (a standard deviation over the pool, for most) moves the reward of a step, in deviations of what is not the step's own; with standard errors. A ring is what was believed before any reward: a weight that ends at its ring is what the features said, not what episodes taught."
    head -n 24 "$parts/strongest.csv" | cut -d, -f2- >"$parts/bars.csv"
    n_bars=$(wc -l <"$parts/bars.csv")
    if [ "$n_bars" = 0 ]; then
        note 'All weights are zero: no episode has taught anything yet.'
    elif [ -n "$has_gnuplot" ]; then
        picture weights weights 'Weights' "the $n_bars that are most standard errors from zero" $((100 + 22 * n_bars)) "csv='$parts/bars.csv'; n_rows=$n_bars"
    fi
    echo '<details><summary>The numbers</summary>'
    tr , '\t' <"$parts/strongest.csv" | page 'BEGIN { table_begin("weight-numbers", "Weights, strongest first.")
            table_head("column|weight|standard error|before any reward|standard errors from zero") }
        { print "<tr>" row_head($2) cell(sprintf("%.4f", $3)) cell(sprintf("%.4f", $4)) cell(sprintf("%.4f", $5)) cell(sprintf("%.1f", $1)) "</tr>" }
        END { table_end() }'
    echo '</details>'
    for f in score $(awk -F, '$1 >= 2 && ++n <= 6 { print $2 }' "$parts/strongest.csv"); do
        weight=$(awk -F, -v f="$f" '$2 == f { printf ", %s, weight %.3f", f, $3 }' "$parts/strongest.csv")
        printf '<details%s><summary><strong>%s</strong>%s: the records that it likes most and least</summary>\n' \
            "$([ "$f" != score ] || echo ' open')" "$(in_words "$f" | escaped)" "$(escaped <<<"$weight")"
        echo '<h3>Most liked</h3>'
        liked "$f" 1
        echo '<h3>Least liked</h3>'
        liked "$f" -1
        echo '</details>'
    done
elif [ -n "$best" ]; then
    note "The learner $best has no weights that could be read off."
else
    note 'No learner was trained here.'
fi

section records Records
if [ -n "$best" ]; then
    echo "<h3>Ten that $(escaped <<<"$best") picked</h3>"
    note "Of its last episode, seed $first, evenly spaced over its steps."
    awk -F, -v m="$best" -v s="$first" '$1 == m && $2 == s && $3 == "last" { k[++n] = $6 "\tstep " $4 }
        END { for (i = 0; i < 10 && i < n; i++) print k[int(i * n / (n < 10 ? n : 10)) + 1] }' "$parts/picks.csv" >"$parts/notes"
    records "$parts/notes"
    echo '<h3>Ten that it passed over</h3>'
    note 'Evenly spaced over the records of the pool that it did not pick.'
    awk -F, -v m="$best" -v s="$first" 'NR == FNR { if ($1 == m && $2 == s && $3 == "last") picked[$5]; next }
        FNR > 1 && !((FNR - 2) in picked) { k[++n] = $1 "\tnot picked" }
        END { for (i = 0; i < 10 && i < n; i++) print k[int(i * n / (n < 10 ? n : 10)) + 1] }' "$parts/picks.csv" "$parts/features.csv" >"$parts/notes"
    records "$parts/notes"
else
    note 'No learner was trained here.'
fi

# ---- what it cost, how it was made ----
section costs Costs
part -v part=costs "$out/costs.csv"
note "Of full training, ${var[EPOCHS]} epochs of the pool: a token that is scored counts once, one that is trained on three times. The features are what the method has to know of the pool beforehand, the episodes what a learner tried and measured; the last training is the same for all that take as many steps."
if [ -s "$out/times.csv" ]; then
    echo '<h3>Time and memory</h3>'
    part -v part=times "$out/times.csv"
    note 'Of the last time that each job was done; peak is the largest of one job, in the memory of the host.'
fi

section made 'How it was made'
{
    printf '%s\n' "${names[@]}" | grep -vxE 'OUT|BIN|REPORT_BY' | while read -r name; do
        [ -z "${var[$name]}" ] || printf '%s\t%s\n' "$name" "${var[$name]}"
    done
} | awk -F'\t' "$(cat "$here"html.awk)"' BEGIN { table_begin("settings", "Settings of the run.")
    print "<thead><tr><th scope=\"col\">variable</th><th scope=\"col\">value</th></tr></thead><tbody>" }
    { print "<tr>" row_head($1) "<td class=\"value\">" esc(substr($0, index($0, "\t") + 1)) "</td></tr>" } END { table_end() }'
m=${best:-${baselines[0]}}
echo "<h3>Programs that made the last episode of $(escaped <<<"$m"), seed $first, and their inputs</h3>"
echo "<pre>$(view --history "$(last_of "$m" "$first")" | escaped)</pre>"
echo "<h3>The features</h3>"
echo "<pre>$(view --history "$features" | escaped)</pre>"
cat <<'HTML'
</section>
</main>
</body>
</html>
HTML
