# SPDX-License-Identifier: MIT
# figure4.csv -> what is lost where a part is left out, with its deviation over seeds.
load here."picture.gp"
set xlabel "loss above the whole's"
set key off
rows = "< awk -F, 'NR > 2 { sub(/^everything.*/, \"random choice\", $1); print $1 \",\" $5 \",\" ($6 == \"\" ? 0 : $6) }' ".csv
stats rows using ($2 - $3) nooutput
least = STATS_min < 0 ? STATS_min : 0
stats rows using ($2 + $3) nooutput
set xtics tic((STATS_max > 0 ? STATS_max : 0) - least, n_tics / 2 + 1)
set yrange [STATS_records - 0.5:-0.5] # from the top
set arrow from 0, graph 0 to 0, graph 1 nohead lc rgb "#78716c"
plot rows using 2:0:($2 < 0 ? $2 : 0):($2 < 0 ? 0 : $2):($0 - 0.3):($0 + 0.3) with boxxyerror fs solid 1 noborder lt 1, \
     rows using 2:0:3:ytic(1) with xerrorbars ps 0 lw 1.5 lc rgb "black" pt 0
