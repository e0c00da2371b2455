# SPDX-License-Identifier: MIT
# figure3.csv -> test loss by width of the embedding.
load here."picture.gp"
set logscale x 2
set xlabel "width of the embedding"
set ylabel "test loss, nats a token"
rows = "< awk -F, 'NR > 1 { print $1 \",\" $3 \",\" ($4 == \"\" ? 0 : $4) }' ".csv
stats rows using 1 nooutput
eval beside(STATS_min, STATS_max)
plot rows using 1:2:3 with yerrorlines pt 7 lw 2 notitle
