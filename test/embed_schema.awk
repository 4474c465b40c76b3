# Puts the statements of schema.sql, a paragraph to a string, between its marks in custmem.c. Comments
# that stand outside of a statement are for schema.sql's readers and are left out; SQLite keeps those
# inside as part of the text that opening compares.
#   awk -f test/embed_schema.awk schema.sql custmem.c > new-custmem.c
FNR == NR {
  line = $0
  gsub(/\\/, "\\\\", line)
  gsub(/"/, "\\\"", line)
  if (line == "") between = 1
  if (line == "" || line ~ /^--/) next
  if (between && schema != "") schema = schema "  ,\n"
  between = 0
  schema = schema "  \"" line "\\n\"\n"
  next
}
/^\/\* schema.sql begins \*\/$/ { print; printf "%s", schema; inside = 1 }
/^\/\* schema.sql ends \*\/$/ { inside = 0 }
!inside { print }
