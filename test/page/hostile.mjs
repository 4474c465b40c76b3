// SPDX-License-Identifier: MIT
//
// People whose names and messages try to break out of a page, or to break its layout: writes a
// stream of WhatsApp payloads, a conversation each; who of them becomes a customer ("FROM make" or
// "FROM link", a line each); and what the page is to show of each.
//
//   node hostile.mjs STREAM CUSTOMERS EXPECTED
//
// `shown` is given where it is not the text as it came: control characters and whatever turns or
// hides text are spelled out, and who has no name goes by the conversation's id.

import { writeFileSync } from "node:fs";

const NUMBER = "209951326681432";
const senderOf = (i) => `4477009009${String(i).padStart(2, "0")}`;

const bytes = (text, size) => {
  let out = "";
  while (Buffer.byteLength(out + text) <= size) out += text;
  return out;
};

const PEOPLE = [
  { name: '<script>document.title = "x"</script>', text: "<img src=x onerror=alert(1)>" },
  { name: '"></h3></article><button onclick="alert(1)">Link now</button>', customer: "link",
    text: "'></p></li></ul><a href='javascript:alert(1)'>Confirm</a>" },
  { name: "</style></title><style>*{display:none}</style>", customer: "make",
    text: "--></main><!-- <form action=/x><input autofocus></form> ]]>" },
  { name: "&lt;b&gt; &amp; &#60;i&#62; &notit;", text: "{{7*7}} ${7*7} <%= 7 %> %s %n" },
  { name: "Known customer", text: "This customer is already known to you" },
  { name: "https://example.com/?a=1&b=2", text: "Call +44 7700 900123 or mail a@example.com" },
  { name: bytes("W", 255), text: bytes("m", 190), customer: "link" },
  { name: bytes("😀", 255), text: bytes("👩🏽‍🚀", 180) },
  { name: bytes("שלום ", 255).trim(), text: "مرحبا، هل الدرس غدا الساعة 10:30؟ <b>نعم</b>", customer: "make" },
  { name: `Z${bytes("\u0335\u0321\u0315\u0300\u0316", 254)}`, text: `a${"\u0301".repeat(90)} b` },
  { name: "invoice\u202egpj.exe", text: "\u2066left\u2067right\u200b\ufeff",
    shown: { name: "invoice\\u202egpj.exe", text: "\\u2066left\\u2067right\\u200b\\ufeff" } },
  { name: "\u001b[31mred\u0007", text: "tab\u0008 and \u0085 next line",
    shown: { name: "\\x1b[31mred\\x07", text: "tab\\x08 and \\x85 next line" } },
  { name: "王小明\u3000山田太郎", text: bytes("漢字", 190), customer: "make" },
  { name: "   ", text: "nameless", shown: { name: `${NUMBER}:${senderOf(13)}`, text: "nameless" } },
  { name: "Ada", text: "three\nlines\n<hr>of text" },
];

const payload = ({ name, text }, i) => {
  const from = senderOf(i);
  return JSON.stringify({
    object: "whatsapp_business_account",
    entry: [{ id: "108840215570321", changes: [{ field: "messages", value: {
      messaging_product: "whatsapp",
      metadata: { display_phone_number: "441632960201", phone_number_id: NUMBER },
      contacts: [{ profile: { name }, wa_id: from }],
      messages: [{ from, id: `wamid.${i}`, timestamp: String(1781424097 + 60 * i), type: "text",
        text: { body: text } }],
    } }] }],
  });
};

const BADGE = { link: "Known customer", make: "New customer" };

const [stream, customers, expected] = process.argv.slice(2);
const lines = (texts) => texts.map((text) => `${text}\n`).join("");
writeFileSync(stream, lines(PEOPLE.map(payload)));
writeFileSync(customers, lines(PEOPLE.flatMap(({ customer }, i) =>
  customer ? [`${senderOf(i)} ${customer}`] : [])));
writeFileSync(expected, JSON.stringify(PEOPLE.map((person, i) => ({
  id: `${NUMBER}:${senderOf(i)}`, name: person.shown?.name ?? person.name,
  messages: [person.shown?.text ?? person.text], badge: BADGE[person.customer] ?? "Unlinked",
})).reverse()));
