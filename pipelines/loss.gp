# SPDX-License-Identifier: MIT
# loss.csv: validation loss over the steps of each method's last episode, mean of seeds.
load here."picture.gp"
set xlabel "step"
stats csv using 3 every ::1 nooutput
set xtics whole(STATS_max - STATS_min, n_tics)
set ylabel "validation loss, nats a token"
methods = system("tail -n +2 ".csv." | cut -d, -f1 | awk '!seen[$0]++' | tr '\\n' ' '")
mean(m) = sprintf("< awk -F, -v m=%s '$1 == m { s[$3] += $4; n[$3]++; if ($3 > last) last = $3 } END { for (i = 0; i <= last; i++) if (n[i]) print i \",\" s[i] / n[i] }' %s", m, csv)
n = words(methods)
plot for [i = 1:n] mean(word(methods, i)) using 1:2 with linespoints lt i ps 0.6 lw 2 title word(methods, i)
