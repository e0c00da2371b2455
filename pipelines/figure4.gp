# SPDX-License-Identifier: MIT
# figure4.csv -> figure4.png: what is lost where a part is left out, with its deviation over seeds.
set datafile separator ","
set terminal pngcairo size 900,560 font "sans,11"
set output png
set style fill solid 0.6
set boxwidth 0.6
set xtics rotate by -30
set ylabel "test loss above the whole learner's, nats a token"
set grid ytics lc rgb "#dddddd"
set xzeroaxis lt -1
rows = "< awk -F, 'NR > 2 { print $1 \",\" $5 \",\" ($6 == \"\" ? 0 : $6) }' ".csv
plot rows using 0:2:xtic(1) with boxes notitle, rows using 0:2:3 with yerrorbars pt 0 lc rgb "#333333" notitle
