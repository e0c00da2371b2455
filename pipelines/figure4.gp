# SPDX-License-Identifier: MIT
# figure4.csv -> what is lost where a part is left out, with its deviation over seeds.
load here."picture.gp"
set style fill solid 0.6
set boxwidth 0.6
set offsets 0.6, 0.6, 0, 0
set xtics rotate by -30
set ylabel "test loss above the whole learner's, nats a token"
set xzeroaxis lt -1
rows = "< awk -F, 'NR > 2 { print $1 \",\" $5 \",\" ($6 == \"\" ? 0 : $6) }' ".csv
plot rows using 0:2:xtic(1) with boxes notitle, rows using 0:2:3 with yerrorbars pt 0 lc rgb "black" notitle
