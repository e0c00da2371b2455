# SPDX-License-Identifier: MIT
# Records as raise-export -F text prints them -> articles; a long one is cut, and says so. After
# html.awk. notes: a file of lines "NUMBER<tab>text", what is said beside a record.
BEGIN {
    while ((getline line <notes) > 0)
        note[substr(line, 1, index(line, "\t") - 1)] = substr(line, index(line, "\t") + 1)
    most = 600 # bytes of a turn
}
# Empty lines are told when another line follows: at the end they part records, or say nothing.
function put(text,    left) {
    left = most - size
    size += length(text)
    if (left < length(text)) {
        n_cut += length(text) - (left > 0 ? left : 0)
        text = left > 0 ? substr(text, 1, left) : ""
        sub(/[\300-\377][\200-\277]*$/, "", text) # half a character, or the last one
    }
    printf "%s", esc(text)
}
function close_turn() {
    if (is_open)
        print (n_cut ? "&hellip; <span class=\"cut\">(cut: " n_cut " more bytes)</span>" : "") "</dd>"
    is_open = n_cut = size = n_empty = 0
}
function close_record() {
    close_turn()
    if (n_records++)
        print "</dl></article>"
}
/^record / {
    close_record()
    source = $2
    sub(/,.*/, "", source)
    print "<article><h4>Record " esc(source) "</h4>" (source in note ? "<p class=\"why\">" esc(note[source]) "</p>" : "") "<dl>"
}
/^  [a-z]/ {
    close_turn()
    printf "<dt>%s</dt><dd dir=\"auto\">", esc(substr($0, 3))
    is_open = is_first = 1
}
/^$/ { n_empty++ }
/^    / {
    for (; n_empty > 0; n_empty--)
        put("\n")
    put((is_first ? "" : "\n") substr($0, 5))
    is_first = 0
}
END {
    if (n_records)
        close_record()
}
