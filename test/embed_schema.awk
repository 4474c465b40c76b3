# Puts the text of schema.sql, a paragraph to a string, between its marks in custmem.c.
#   awk -f test/embed_schema.awk schema.sql custmem.c > new-custmem.c
FNR == NR {
  line = $0
  gsub(/\\/, "\\\\", line)
  gsub(/"/, "\\\"", line)
  schema = schema (line == "" ? "  ,\n" : "") "  \"" line "\\n\"\n"
  next
}
/^\/\* schema.sql begins \*\/$/ { print; printf "%s", schema; inside = 1 }
/^\/\* schema.sql ends \*\/$/ { inside = 0 }
!inside { print }
