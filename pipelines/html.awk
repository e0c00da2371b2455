# SPDX-License-Identifier: MIT
# What the parts of a report share. Whatever was not written here goes through esc().
function esc(s) {
    gsub(/&/, "\\&amp;", s)
    gsub(/</, "\\&lt;", s)
    gsub(/>/, "\\&gt;", s)
    gsub(/"/, "\\&quot;", s)
    gsub(/'/, "\\&#39;", s)
    gsub(/[\001-\010\013-\037\177]/, "\\&#xfffd;", s)
    return s
}
# A table scrolls by itself where the page is narrow, by keyboard too.
function table_begin(id, caption) {
    print "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-labelledby=\"" id "\"><table><caption id=\"" id "\"><span>" esc(caption) "</span></caption>"
}
function table_end() { print "</tbody></table></div>" }
# Headings, parted by "|".
function table_head(text,    h, i, k) {
    k = split(text, h, "|")
    printf "<thead><tr>"
    for (i = 1; i <= k; i++)
        printf "<th scope=\"col\"%s>%s</th>", (i == 1 ? "" : " class=\"n\""), esc(h[i])
    print "</tr></thead><tbody>"
}
function row_head(text) { return "<th scope=\"row\">" esc(text) "</th>" }
function cell(text) { return "<td class=\"n\">" esc(text) "</td>" }
# A share of one, as a per cent on a ground of its strength.
function share_cell(x) { return sprintf("<td class=\"n share\" style=\"--share:%d%%\">%.0f&thinsp;%%</td>", 100 * x + 0.5, 100 * x) }
