# SPDX-License-Identifier: MIT
# Where a picture goes: a PNG file (png=), or for a page SVG (svg=) of width and height, whose names
# begin with `name`. The colours keep a contrast of 3 to 1 on white and on the dark page.
set datafile separator ","
if (exists("svg")) {
    set terminal svg size width,height dynamic noenhanced font "sans-serif,13" name name
    set output svg
    set key above
} else {
    set terminal pngcairo noenhanced size 900,560 font "sans,11"
    set output png
    set key outside right
}
set autoscale xfix
set grid back lc rgb "#999999" lw 0.5 dt (2,4)
set border 3
set tics nomirror
colours = "#2878c8 #c8641e #1e8c50 #b450c8 #c83c3c #8c7800 #00868c #d2468c #6e64e6 #78716c #548235 #a0522d"
do for [i = 1:words(colours)] { set linetype i lc rgb word(colours, i) pt (i - 1) % 6 * 2 + 5 }
# Room beside the first and the last of x, on a scale of factors: their bars would lie on the frame.
beside(least, most) = sprintf("set xrange [%g:%g]", least / (most > least ? most / least : 2) ** 0.04, most * (most > least ? most / least : 2) ** 0.04)
# A round distance of tics, so that about n of them fit into a range.
ten(x) = 10 ** floor(log10(x))
tic(range, n) = range <= 0 ? 1 : (x = range / n, range / n <= ten(x) ? ten(x) : x <= 2 * ten(x) ? 2 * ten(x) : x <= 5 * ten(x) ? 5 * ten(x) : 10 * ten(x))
whole(range, n) = tic(range, n) < 1 ? 1 : tic(range, n)
n_tics = exists("svg") && width < 500 ? 4 : 10
