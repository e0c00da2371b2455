# SPDX-License-Identifier: MIT
# Test loss of each method: a point a seed, a bar at the mean. csv: label,place,loss; means: the same.
load here."picture.gp"
set xlabel "test loss, nats a token"
stats csv using 3 nooutput
set xtics tic(STATS_max - STATS_min, n_tics)
set offsets graph 0.06, graph 0.06, 0.5, 0.5
set key off
plot csv using 3:2 with points pt 6 ps 0.8 lt 1, \
     means using 3:2:ytic(1) with points pt 7 ps 1 lt 2
