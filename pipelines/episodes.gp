# SPDX-License-Identifier: MIT
# episodes.csv -> episodes.png: what an episode brought (drop in validation loss), by episode.
set datafile separator ","
set terminal pngcairo size 900,560 font "sans,11"
set output png
set xlabel "training episode"
set ylabel "drop in validation loss, nats a token"
set key outside right
set grid lc rgb "#dddddd"
learners = system("tail -n +2 ".csv." | cut -d, -f1 | awk '!seen[$0]++' | tr '\\n' ' '")
rows(l) = sprintf("< awk -F, -v l=%s '$1 == l && length($4) { print $3 \",\" $4 }' %s", l, csv)
mean(l) = sprintf("< awk -F, -v l=%s '$1 == l && length($4) { s[$3] += $4; n[$3]++; if ($3 > last) last = $3 } END { for (i = 1; i <= last; i++) if (n[i]) print i \",\" s[i] / n[i] }' %s", l, csv)
n = words(learners)
plot for [i = 1:n] mean(word(learners, i)) using 1:2 with lines lw 2 lc i title word(learners, i), \
     for [i = 1:n] rows(word(learners, i)) using 1:2 with points pt 7 ps 0.7 lc i notitle
