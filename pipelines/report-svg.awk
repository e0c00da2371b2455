# SPDX-License-Identifier: MIT
# gnuplot's SVG -> the same within a page: names that are its own, colours that follow the page's,
# no word of XML. After html.awk. id, class, title, text: of the picture.
/^<\?xml|^ xmlns|<filter/ { is_filter = /<filter/; next }
is_filter { is_filter = !/<\/filter>/; next }
/^<svg/ { print "<svg class=\"" class "\" role=\"img\" aria-labelledby=\"" id "-t " id "-d\""; next }
/^<title>/ { print "<title id=\"" id "-t\">" esc(title) "</title>"; next }
/^<desc>/ { print "<desc id=\"" id "-d\">" esc(text) "</desc>"; next }
{ sub(/<title>.*<\/title>/, "") } # of a curve: its command
/^[ \t]*$/ { next }
{
    gsub(/gpPt|gpDot|gnuplot_canvas/, id "-&")
    gsub(/xlink:href/, "href")
    gsub(/="black"/, "=\"currentColor\"")
    gsub(/='black'/, "='currentColor'")
    gsub(/rgb\( *0, *0, *0\)/, "currentColor")
    print
}
