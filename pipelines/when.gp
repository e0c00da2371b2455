# SPDX-License-Identifier: MIT
# A number of the records that a method picked, by step: means over picks and seeds; the pool's mean
# beside them. csv: method,step,mean; unit: of the axis; pool: the mean of all rows.
load here."picture.gp"
set xlabel "step"
stats csv using 2 every ::1 nooutput
set xtics whole(STATS_max - STATS_min, n_tics)
set ylabel unit
methods = system("tail -n +2 ".csv." | cut -d, -f1 | awk '!seen[$0]++' | tr '\\n' ' '")
rows(m) = sprintf("< awk -F, -v m=%s '$1 == m { print $2 \",\" $3 }' %s", m, csv)
n = words(methods)
plot for [i = 1:n] rows(word(methods, i)) using 1:2 with linespoints lt i ps 0.6 lw 2 title word(methods, i), \
     pool with lines lc rgb "#78716c" lw 2 dt 2 title "the whole pool"
