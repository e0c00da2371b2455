# SPDX-License-Identifier: MIT
# Questions of multiple choice in MMLU's CSV (question, A, B, C, D, answer; no line of names; a file a
# subject, SUBJECT_test.csv) -> JSON lines which are records to train on, asked as raise-eval asks them,
# and questions for raise-eval choice. The first question of every subject comes first, then the second
# of each: the first n are of all subjects.
#
#   awk -f mmlu.awk mmlu/dev/*.csv | sort -s -n -k1,1 | cut -f2-
function json(s) {
    gsub(/\\/, "&&", s)
    gsub(/"/, "\\\"", s)
    gsub(/\t/, "\\t", s)
    gsub(/\r/, "", s)
    gsub(/\n/, "\\n", s)
    return "\"" s "\""
}
# The fields of a record into field[1 ...]; how many.
function split_record(s,    n, at) {
    for (n = 1; ; n++) {
        if (substr(s, 1, 1) == "\"") {
            s = substr(s, 2)
            field[n] = ""
            while ((at = index(s, "\"")) && substr(s, at + 1, 1) == "\"") {
                field[n] = field[n] substr(s, 1, at)
                s = substr(s, at + 2)
            }
            field[n] = field[n] substr(s, 1, at - 1)
            s = substr(s, at + 1)
        } else {
            at = index(s, ",")
            field[n] = at ? substr(s, 1, at - 1) : s
            s = at ? substr(s, at) : ""
        }
        if (s == "")
            return n
        s = substr(s, 2)
    }
}
FNR == 1 {
    n_of = n_headings = 0
    depth = split(FILENAME, place, "/")
    subject = place[depth]
    sub(/(_(test|dev|val))?\.csv$/, "", subject)
}
{
    sub(/\r$/, "")
    record = is_open ? record "\n" $0 : $0
    quotes = record
    is_open = gsub(/"/, "", quotes) % 2 # within a quoted field
    if (is_open)
        next
    right = split_record(record) == 6 ? index("ABCD", field[6]) : 0
    if (!right || length(field[6]) != 1) {
        if (!n_of && !n_headings++ && tolower(field[1]) == "question")
            next
        print FILENAME ":" FNR ": not question, A, B, C, D and one of these letters" >"/dev/stderr"
        exit 1
    }
    about = subject
    gsub(/_/, " ", about)
    asked = field[1]
    gsub(/^[ \t\n]+|[ \t\n]+$/, "", asked)
    asked = "The following are multiple choice questions (with answers) about " about ".\n\n" asked
    choices = ""
    for (i = 1; i <= 4; i++) {
        asked = asked "\n" substr("ABCD", i, 1) ". " field[i + 1]
        choices = choices (i > 1 ? ", " : "") json(field[i + 1])
    }
    printf "%d\t{\"messages\": [{\"role\": \"user\", \"content\": %s}, {\"role\": \"assistant\", \"content\": \"%s\"}], ", ++n_of, json(asked "\nAnswer:"), field[6]
    printf "\"question\": %s, \"choices\": [%s], \"answer\": %d, \"subject\": %s}\n", json(field[1]), choices, right - 1, json(subject)
}
