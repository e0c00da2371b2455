# SPDX-License-Identifier: MIT
# loss.csv -> loss.png: validation loss over the steps of each method's last episode, mean of seeds.
set datafile separator ","
set terminal pngcairo size 900,560 font "sans,11"
set output png
set xlabel "step"
set ylabel "validation loss, nats a token"
set key outside right
set grid lc rgb "#dddddd"
methods = system("tail -n +2 ".csv." | cut -d, -f1 | awk '!seen[$0]++' | tr '\\n' ' '")
mean(m) = sprintf("< awk -F, -v m=%s '$1 == m { s[$3] += $4; n[$3]++; if ($3 > last) last = $3 } END { for (i = 0; i <= last; i++) if (n[i]) print i \",\" s[i] / n[i] }' %s", m, csv)
plot for [m in methods] mean(m) using 1:2 with linespoints pt 7 ps 0.6 lw 2 title m
