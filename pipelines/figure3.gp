# SPDX-License-Identifier: MIT
# figure3.csv -> figure3.png: test loss by width of the embedding.
set datafile separator ","
set terminal pngcairo size 900,560 font "sans,11"
set output png
set logscale x 2
set xlabel "width of the embedding"
set ylabel "test loss, nats a token"
set grid lc rgb "#dddddd"
rows = "< awk -F, 'NR > 1 { print $1 \",\" $3 \",\" ($4 == \"\" ? 0 : $4) }' ".csv
plot rows using 1:2:3 with yerrorlines pt 7 lw 2 notitle
