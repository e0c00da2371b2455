# SPDX-License-Identifier: MIT
# figure5.csv -> test loss by number of classes, a line for each length of training, and
# random choice at that length as a dashed one.
load here."picture.gp"
set logscale x 2
set xlabel "classes"
set ylabel "test loss, nats a token"
percents = system("tail -n +2 ".csv." | cut -d, -f1 | awk '!seen[$0]++' | tr '\\n' ' '")
rows(p) = sprintf("< awk -F, -v p=%s 'NR > 1 && $1 == p && $2 != \"\" { print $2 \",\" $4 \",\" ($5 == \"\" ? 0 : $5) }' %s", p, csv)
chance(p) = sprintf("< awk -F, -v p=%s 'NR > 1 && $1 == p { if ($2 == \"\") r = $4; else print $2 \",\" r }' %s", p, csv)
n = words(percents)
stats "< awk -F, 'NR > 1 && $2 != \"\" { print $2 }' ".csv using 1 nooutput
eval beside(STATS_min, STATS_max)
plot for [i = 1:n] rows(word(percents, i)) using 1:2:3 with yerrorlines pt 7 lw 2 lc i title word(percents, i)." %", \
     for [i = 1:n] chance(word(percents, i)) using 1:2 with lines dt 2 lw 2 lc rgb word(colours, i) title word(percents, i)." %, random"
