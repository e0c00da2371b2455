# SPDX-License-Identifier: MIT
# episodes.csv: what an episode brought (drop in validation loss), by episode: the mean of seeds, and
# every seed.
load here."picture.gp"
set xlabel "training episode"
stats csv using 3 every ::1 nooutput
set xtics whole(STATS_max - STATS_min, n_tics)
set ylabel "drop in validation loss, nats a token"
learners = system("tail -n +2 ".csv." | cut -d, -f1 | awk '!seen[$0]++' | tr '\\n' ' '")
rows(l) = sprintf("< awk -F, -v l=%s '$1 == l && length($4) { print $3 \",\" $4 }' %s", l, csv)
mean(l) = sprintf("< awk -F, -v l=%s '$1 == l && length($4) { s[$3] += $4; n[$3]++; if ($3 > last) last = $3 } END { for (i = 1; i <= last; i++) if (n[i]) print i \",\" s[i] / n[i] }' %s", l, csv)
n = words(learners)
plot for [i = 1:n] mean(word(learners, i)) using 1:2 with lines lw 2 lt i title word(learners, i), \
     for [i = 1:n] rows(word(learners, i)) using 1:2 with points ps 0.7 lt i notitle
