# SPDX-License-Identifier: MIT
# Weights with their standard errors as bars, strongest first; a ring where it was believed to be
# before any reward. csv: name,weight,standard_error,prior
load here."picture.gp"
set xlabel "weight, with its standard error"
stats csv using ($2 - $3) nooutput
least = STATS_min < 0 ? STATS_min : 0
stats csv using ($2 + $3) nooutput
most = STATS_max > 0 ? STATS_max : 0
set xtics tic(most - least, n_tics)
set key off
set yrange [n_rows + 0.5:-0.5] # from the top
set xzeroaxis
set arrow from 0, graph 0 to 0, graph 1 nohead lc rgb "#78716c"
plot csv using 2:0:($2 < 0 ? $2 : 0):($2 < 0 ? 0 : $2):($0 - 0.3):($0 + 0.3) with boxxyerror fs solid 1 noborder lt 1, \
     csv using 2:0:3:ytic(1) with xerrorbars ps 0 lw 1.5 lc rgb "black" pt 0, \
     csv using 4:0 with points pt 6 ps 1.1 lw 2 lt 2
