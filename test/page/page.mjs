// SPDX-License-Identifier: MIT
//
// The badge page in a real browser. page.sh makes the pages and calls this; a line a check.
//
//   node page.mjs BROWSER FOLDER SCREENSHOTS HOSTILE
//
// FOLDER holds the stores; inbox.html (with badges), plain.html (without), hostile.html (with; of
// people who try to break out) and empty.html; and what inbox.html and hostile.html are to show, in
// inbox.json and hostile.json: an array of {id, name, messages, badge}, one a conversation, in the
// order of the page. HOSTILE is whose inbox hostile.html is, a name with markup.
//
// What is checked at both widths and in both themes says so in its name. Checks that look at a page
// do so in functions that run inside it; they take nothing from out here but their arguments.

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { openBrowser } from "./browser.mjs";

const [browserProgram, folder, screenshots, hostileInstructor] = process.argv.slice(2);
const WIDTHS = [390, 1280];
const THEMES = ["light", "dark"];
const HEIGHT = { 390: 844, 1280: 800 };
const TEXT_CONTRAST = 4.5;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const expected = (name) => JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8"));
const EXPECTED = { inbox: expected("inbox"), hostile: expected("hostile") };
const COPY = {
  "Known customer": "This customer is already known to you",
  "New customer": "First interaction with this customer",
  Unlinked: "Customer not resolved",
};

let passed = 0;
let failed = 0;

// `faults` is a list of what is wrong: none is a pass.
function check(name, faults) {
  if (faults.length === 0) passed++;
  else failed++;
  console.log(`${faults.length === 0 ? "ok    " : "FAILED"}  ${name}`);
  for (const fault of faults.slice(0, 8)) console.log(`        ${JSON.stringify(fault).slice(0, 500)}`);
}

const browser = await openBrowser(browserProgram);

// Opens a page of FOLDER, does something with it, and closes it.
async function withPage(name, width, theme, use) {
  const url = pathToFileURL(join(folder, name)).href;
  const page = await browser.openPage({ url, width, height: HEIGHT[width] ?? 800, theme });
  try {
    return await use(page, url);
  } finally {
    await page.close();
  }
}

async function eachLook(use) {
  const faults = [];
  for (const width of WIDTHS)
    for (const theme of THEMES)
      for (const fault of await use(width, theme)) faults.push({ width, theme, ...fault });
  return faults;
}

// Lists what is different; texts are compared as they are.
function differences(what, got, want) {
  return JSON.stringify(got) === JSON.stringify(want) ? [] : [{ what, got, want }];
}

// ---- What the page shows

const readPage = () => {
  const text = (element) => element?.textContent ?? null;
  const badges = (element) =>
    [...element.querySelectorAll(".badge")].map((badge) => ({
      label: text(badge.querySelector(".label")),
      copy: text(badge.querySelector(".copy")),
      all: text(badge),
      seen: badge.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }),
    }));
  const detail = (article, term) => {
    const found = [...article.querySelectorAll("dt")].find((dt) => dt.textContent === term);
    return found ? found.nextElementSibling.textContent : null;
  };
  return {
    list: [...document.querySelectorAll(".row")].map((row) => ({
      name: text(row.querySelector(".name")), last: text(row.querySelector(".last")),
      badges: badges(row),
    })),
    views: [...document.querySelectorAll("article")].map((article) => ({
      name: text(article.querySelector("h3")),
      messages: [...article.querySelectorAll(".message")].map(text),
      id: detail(article, "Conversation"), badges: badges(article),
    })),
    badges: document.querySelectorAll(".badge, .label, .copy, .icon").length,
  };
};

function rightBadges(where, shown, expected) {
  const faults = differences(`${where}: conversations`, shown.length, expected.length);
  for (const [i, row] of expected.entries()) {
    const want = row.badge
      ? [{ label: row.badge, copy: COPY[row.badge], all: `${row.badge} ${COPY[row.badge]}`, seen: true }]
      : [];
    faults.push(...differences(`${where}: badge of ${row.id}`, shown[i]?.badges, want));
  }
  return faults;
}

// Names and messages, to the letter; the last message in the list, all of them in the view.
async function everybodyIsShown() {
  for (const name of ["inbox", "hostile"]) {
    const page = await withPage(`${name}.html`, 390, "light", (it) => it.evaluate(readPage));
    const faults = differences("conversations", page.views.length, EXPECTED[name].length);
    for (const [i, row] of EXPECTED[name].entries()) {
      faults.push(...differences(`list ${i}: name`, page.list[i]?.name, row.name));
      faults.push(...differences(`list ${i}: last`, page.list[i]?.last, row.messages.at(-1)));
      for (const part of ["id", "name", "messages"])
        faults.push(...differences(`view ${i}: ${part}`, page.views[i]?.[part], row[part]));
    }
    check(`${name}: every name and message is shown, as the text that it is`, faults);
  }
}

async function exactlyOneBadge() {
  for (const name of ["inbox", "hostile"]) {
    check(`${name}: all three states are there to be tested`,
      Object.keys(COPY).filter((label) => !EXPECTED[name].some(({ badge }) => badge === label)));
    const page = await withPage(`${name}.html`, 1280, "light", (it) => it.evaluate(readPage));
    check(`${name}: the list has exactly one badge a conversation, the right one`,
      rightBadges("list", page.list, EXPECTED[name]));
    check(`${name}: the view has exactly one badge a conversation, the right one`,
      rightBadges("view", page.views, EXPECTED[name]));
    check(`${name}: there is no badge but those`,
      differences("parts of badges", page.badges, EXPECTED[name].length * 2 * 4));
  }
}

async function noBadgeWithoutTheFlag() {
  const page = await withPage("plain.html", 1280, "light", (it) => it.evaluate(readPage));
  const without = EXPECTED.inbox.map((row) => ({ ...row, badge: null }));
  check("plain: without the flag there is no badge", [
    ...rightBadges("list", page.list, without), ...rightBadges("view", page.views, without),
    ...differences("parts of badges", page.badges, 0),
  ]);
  const text = (name) => readFileSync(join(folder, name), "utf8").split("\n");
  check("plain: but for the badges, the page is the same",
    differences("lines", text("plain.html"),
      text("inbox.html").filter((line) => !line.includes('class="badge'))));
  const body = text("plain.html").join("\n").split("<body>")[1];
  check("plain: the words of the badges are nowhere in it",
    [...Object.keys(COPY), ...Object.values(COPY)].filter((words) => body.includes(words)));
}

async function emptyInbox() {
  const page = await withPage("empty.html", 390, "light", (it) => it.evaluate(() => ({
    main: document.querySelector("main").innerText.trim(),
    lists: document.querySelectorAll("ul, section, article").length,
    count: document.querySelector("header p").innerText,
  })));
  check("empty: an inbox without conversations says so, and has no empty list",
    differences("page", page, { main: "", lists: 0, count: "0 conversations" }));
}

async function hostileNamesAreText() {
  const page = await withPage("hostile.html", 390, "light", async (it) => ({
    title: await it.evaluate(() => document.title),
    heading: await it.evaluate(() => document.querySelector("h1").textContent),
    elements: await it.evaluate(() =>
      [...new Set([...document.querySelectorAll("*")].map((element) => element.localName))].sort()),
  }));
  check("hostile: an instructor's name with markup is text in the title and the heading",
    [...differences("title", page.title, `Inbox of ${hostileInstructor}`),
      ...differences("heading", page.heading, `Inbox of ${hostileInstructor}`)]);
  check("hostile: no name has made an element of its own",
    differences("elements", page.elements, ["article", "bdi", "body", "dd", "div", "dl", "dt",
      "footer", "h1", "h2", "h3", "head", "header", "html", "li", "main", "meta", "ol", "p",
      "section", "span", "style", "time", "title", "ul"]));
}

// ---- The badge in the list and in the view

// All computed properties of a badge and its parts, in the order of the document. Where an element
// lies is its place's and not its own; nothing else may differ.
const readStyles = () =>
  [".row", "article"].map((place) =>
    [...document.querySelectorAll(place)].map((row) => {
      const badge = row.querySelector(".badge");
      return [badge, ...badge.querySelectorAll("*")].map((element) => {
        const style = getComputedStyle(element);
        const box = element.getBoundingClientRect();
        const values = { element: element.className, width: box.width, height: box.height };
        for (const property of style) values[property] = style.getPropertyValue(property);
        for (const pseudo of ["::before", "::after"])
          values[pseudo] = getComputedStyle(element, pseudo).content;
        return values;
      });
    }));

async function sameInBothPlaces() {
  check("the badge has the same computed style, to the last property, in list and view (all looks)",
    await eachLook((width, theme) => withPage("inbox.html", width, theme, async (page) => {
      const [list, views] = await page.evaluate(readStyles);
      const faults = list.length > 0 && list.length === views.length ? [] : [{ what: "rows" }];
      for (const [i, elements] of list.entries())
        for (const [j, values] of elements.entries()) {
          if (Object.keys(values).length < 300) faults.push({ what: "too few properties" });
          for (const property of Object.keys(values))
            faults.push(...differences(`${values.element} ${property}`, values[property],
              views[i]?.[j]?.[property]));
        }
      return faults;
    })));
  check("a badge's state changes its colour and its icon only, never its size or its text style",
    await eachLook((width, theme) => withPage("inbox.html", width, theme, async (page) => {
      const [list] = await page.evaluate(readStyles);
      const sizes = list.map(([badge, label, , copy]) =>
        [badge.width, badge.height, badge["font-size"], label.height, label["font-size"],
          label["font-weight"], copy["font-size"], copy.color].join());
      return [...new Set(sizes)].slice(1).map((what) => ({ what, want: sizes[0] }));
    })));
}

// Hue by hue: nothing of a badge is a clear green, red, orange or yellow. A tone with little colour
// in it (chroma of at most 0.06 in OKLCH, of 0.3 that a screen can show) is neither success nor alarm.
const readChroma = () => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const chroma = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((byte) =>
      byte <= 10 ? byte / 3294.6 : ((byte / 255 + 0.055) / 1.055) ** 2.4);
    const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
    const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
    const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
    return Math.hypot(1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
      0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s);
  };
  return [...document.querySelectorAll(".badge, .badge *")].flatMap((element) => {
    const style = getComputedStyle(element);
    return ["color", "background-color", "border-top-color"].map((property) => ({
      element: element.className, property, colour: style.getPropertyValue(property),
      chroma: chroma(style.getPropertyValue(property)),
    }));
  });
};

async function calmColours() {
  check("the colours of a badge are muted: none means success or alarm (all looks)",
    await eachLook((width, theme) => withPage("inbox.html", width, theme, async (page) =>
      (await page.evaluate(readChroma)).filter(({ chroma }) => !(chroma <= 0.06)))));
}

// ---- Nothing to do

const readControls = () => {
  const name = (element) => `${element.localName}.${element.className}`;
  const elements = [...document.querySelectorAll("*")];
  const near = (element) => element.closest(".badge") !== null ||
    element.querySelector(".badge") !== null;
  const controls = "a, area, button, form, input, select, textarea, option, label, details," +
    "summary, dialog, audio, video, iframe, object, embed, frame, portal, [contenteditable]," +
    "[tabindex], [draggable], [accesskey], [popover], [popovertarget], [commandfor], [onclick]," +
    "[role=button], [role=link], [role=menuitem], [role=tab], [role=checkbox], [role=switch]";
  return {
    forbidden: [...document.querySelectorAll(`${controls}, script, link, base, svg, img, math`)]
      .map(name),
    refreshing: [...document.querySelectorAll("meta[http-equiv=refresh i]")].map(name),
    attributes: elements.flatMap((element) => [...element.attributes]
      .filter(({ name: attribute, value }) => /^on/i.test(attribute) ||
        ["href", "src", "srcset", "action", "style", "ping"].includes(attribute) ||
        /^\s*(javascript|data|vbscript):/i.test(value))
      .map(({ name: attribute }) => `${name(element)} ${attribute}`)),
    focusable: elements.filter((element) => {
      element.focus();
      const took = document.activeElement === element && element !== document.body;
      if (took) element.blur();
      return took || (element.tabIndex >= 0);
    }).map(name),
    handlers: [window, document, ...elements].flatMap((target) =>
      Object.keys(getEventListeners(target)).map((event) => `${target.localName ?? "page"} ${event}`)),
    pointers: elements.filter((element) => near(element) &&
      !["auto", "text", "default"].includes(getComputedStyle(element).cursor)).map(name),
    reacting: [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules])
      .map((rule) => rule.cssText).filter((rule) =>
        /:(hover|focus|active|target|checked|visited|link)|cursor|transition|animation/.test(rule)),
    scrollers: elements.filter((element) => element !== document.documentElement &&
      /auto|scroll|hidden/.test(getComputedStyle(element).overflow)).map(name),
    moving: document.getAnimations({ subtree: true }).length,
  };
};

async function nothingToDo() {
  for (const name of ["inbox", "hostile"]) {
    const found = await withPage(`${name}.html`, 1280, "light", (it) => it.evaluate(readControls));
    check(`${name}: no form, button, link, script or other control in the page`, found.forbidden);
    check(`${name}: no handler, address or style in an attribute`, found.attributes);
    check(`${name}: nothing can take the focus`, found.focusable);
    check(`${name}: nothing listens to events`, found.handlers);
    check(`${name}: nothing in or around a badge looks clickable`, found.pointers);
    check(`${name}: no rule of the style sheet waits for a hover, a focus or a click`,
      found.reacting);
    check(`${name}: no part scrolls by itself, nothing moves, and nothing reloads the page`,
      [...found.scrollers, ...found.refreshing, ...Array(found.moving).fill("animation")]);
  }
  const roles = await withPage("inbox.html", 1280, "light", accessibleRoles);
  const active = ["button", "link", "menuitem", "tab", "checkbox", "switch", "textbox", "combobox"];
  check("inbox: a screen reader finds nothing to activate",
    roles.filter(({ role }) => active.includes(role)));
}

// ---- Loading, hovering, clicking

const hashOf = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");
const hashesOfFolder = () =>
  readdirSync(folder).sort().map((name) => `${name} ${hashOf(join(folder, name))}`);

const POINTS_AT_ONCE = 25;

// The middle of every element, and a grid over what lies between.
const readPoints = () => {
  const points = [...document.querySelectorAll("body, body *")].map((element) => {
    const box = element.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2 + scrollY];
  });
  for (let y = 10; y < document.documentElement.scrollHeight; y += 40)
    for (let x = 10; x < innerWidth; x += 80) points.push([x, y]);
  return points;
};

// All that a hover could change to the eye, and all that a click could change in the page.
const readState = () => ({
  html: document.documentElement.outerHTML,
  styles: [...document.querySelectorAll("body *")].map((element) => {
    const style = getComputedStyle(element);
    return [style.color, style.backgroundColor, style.opacity, style.textDecoration, style.transform,
      style.boxShadow, style.outlineStyle, style.visibility, element.getBoundingClientRect().width];
  }).join("|"),
  address: location.href,
  entries: history.length,
  focus: document.activeElement.localName,
});

async function hoverAndClick(page) {
  const { call, evaluate } = page;
  const height = await evaluate(() => document.documentElement.scrollHeight);
  const width = await evaluate(() => innerWidth);
  await call("Emulation.setDeviceMetricsOverride",
    { width, height, deviceScaleFactor: 1, mobile: false });
  const before = await evaluate(readState);
  const faults = [];
  const mouse = (type, [x, y], more = {}) =>
    call("Input.dispatchMouseEvent", { type, x, y, ...more });
  const points = await evaluate(readPoints);
  for (let i = 0; i < points.length && faults.length === 0; i += POINTS_AT_ONCE) {
    const some = points.slice(i, i + POINTS_AT_ONCE);
    await Promise.all(some.flatMap((point) => [mouse("mouseMoved", point),
      ...[1, 2].flatMap((clickCount) => ["mousePressed", "mouseReleased"].map((type) =>
        mouse(type, point, { button: "left", clickCount })))]));
    faults.push(...differences(`after ${some.at(-1)}`, await evaluate(readState), before));
  }
  for (const key of ["Tab", "Tab", "Tab", "Enter", " "]) {
    await call("Input.dispatchKeyEvent", { type: "keyDown", key, code: key,
      text: key === "Enter" ? "\r" : key === " " ? " " : undefined,
      windowsVirtualKeyCode: { Tab: 9, Enter: 13, " ": 32 }[key] });
    await call("Input.dispatchKeyEvent", { type: "keyUp", key, code: key });
  }
  faults.push(...differences("page", await evaluate(readState), before));
  return faults;
}

async function nothingChanges() {
  const before = hashesOfFolder();
  const requests = [];
  const reports = [];
  for (const name of ["inbox", "hostile"])
    for (const width of WIDTHS)
      await withPage(`${name}.html`, width, "light", async (page, url) => {
        check(`${name}: hovering, clicking and keys everywhere change nothing (${width} px)`,
          await hoverAndClick(page));
        requests.push(...page.requests.filter((address) => address !== url));
        requests.push(...differences("documents", page.requests.length, 1));
        reports.push(...page.reports);
      });
  check("the page asks for nothing over the network, and for no other file", requests);
  check("the browser reports nothing: no error, no warning, nothing that the policy forbade", reports);
  check("the files are as they were, the store among them",
    differences("files", hashesOfFolder(), before));
}

// The policy is in force, and it is strict: what is put into the page afterwards is not fetched, not
// run, not applied; and the page's own style sheet is.
async function policyHolds() {
  const got = await withPage("inbox.html", 1280, "light", async (page) => {
    const result = await page.evaluate(async () => {
      const violated = new Set();
      document.addEventListener("securitypolicyviolation",
        (event) => violated.add(event.effectiveDirective));
      const add = (tag, fields) =>
        document.body.append(Object.assign(document.createElement(tag), fields));
      const styled = getComputedStyle(document.querySelector(".label")).display;
      add("img", { src: "http://127.0.0.1:9/image" });
      add("script", { textContent: "window.ran = 1" });
      add("style", { textContent: "body { color: rgb(1, 2, 3) !important }" });
      add("p", { id: "styled" });
      document.body.lastChild.setAttribute("style", "color: rgb(1, 2, 3)");
      add("iframe", { src: "http://127.0.0.1:9/frame" });
      add("object", { data: "http://127.0.0.1:9/object" });
      await fetch("http://127.0.0.1:9/data").catch(() => {});
      for (let i = 0; i < 100 && violated.size < 7; i++)
        await new Promise((resolve) => setTimeout(resolve, 100));
      return { violated: [...violated].sort(), styled, ran: window.ran ?? null,
        colour: getComputedStyle(document.body).color === "rgb(1, 2, 3)" };
    });
    return result;
  });
  check("the policy allows the page its own style, and forbids all that is put into it",
    differences("policy", got, {
      violated: ["connect-src", "frame-src", "img-src", "object-src", "script-src-elem",
        "style-src-attr", "style-src-elem"],
      styled: "flex", ran: null, colour: false,
    }));
  const text = readFileSync(join(folder, "inbox.html"), "utf8");
  const [, style] = text.match(/<style>([^]*)<\/style>/);
  const hash = createHash("sha256").update(style).digest("base64");
  const [, policy] = text.match(/Content-Security-Policy" content="([^"]*)"/);
  check("the policy is the strictest there can be, and its hash is the style sheet's",
    differences("policy", policy, "default-src 'none'; " +
      `style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'`));
}

// ---- Layout, contrast, assistive technology

const readLayout = () => {
  const faults = [];
  const name = (element) => `${element.localName}.${element.className}`;
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) faults.push(`the page is ${root.scrollWidth} px wide`);
  for (const element of document.querySelectorAll("body *")) {
    const box = element.getBoundingClientRect();
    if (box.width > 0 && (box.left < 0 || box.right > innerWidth + 0.5))
      faults.push(`${name(element)} reaches from ${box.left} to ${box.right}`);
    const style = getComputedStyle(element);
    const isCut = style.webkitLineClamp !== "none";
    if (element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0 && !isCut &&
        style.display !== "inline")
      faults.push(`${name(element)} holds ${element.scrollWidth} in ${element.clientWidth} px: ` +
        element.textContent.slice(0, 20));
  }
  for (const place of [".row", ".said", "article"]) {
    const boxes = [...document.querySelectorAll(place)].map((row) => row.getBoundingClientRect());
    boxes.slice(1).forEach((box, i) => {
      if (box.top < boxes[i].bottom - 0.5) faults.push(`${place} ${i + 1} lies over the next`);
    });
    if (boxes.some((box) => box.height < 20)) faults.push(`a ${place} has no height`);
  }
  for (const copy of document.querySelectorAll(".badge, .label, .copy")) {
    const box = copy.getBoundingClientRect();
    if (box.width < 20 || box.height < 10) faults.push(`${name(copy)} is not to be seen`);
  }
  return faults;
};

// Nothing is painted over a badge: piled accents, say, of the name above it. Where that is so, the
// badge's pixels are the same without the rest of the text.
async function paintedOver(page, width) {
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.call("Emulation.setDeviceMetricsOverride",
    { width, height, deviceScaleFactor: 1, mobile: false });
  const boxes = await page.evaluate(() =>
    [...document.querySelectorAll(".badge")].map((badge) => {
      const { left, right, top, bottom } = badge.getBoundingClientRect();
      const [x, y] = [Math.floor(left) - 2, Math.ceil(top)];
      return { x, y, width: Math.ceil(right) - x, height: Math.floor(bottom) - y, scale: 1 };
    }));
  const pictures = async () => {
    const taken = [];
    for (const clip of boxes)
      taken.push((await page.call("Page.captureScreenshot", { clip })).data);
    return taken;
  };
  const before = await pictures();
  await page.evaluate(() => {
    for (const text of document.querySelectorAll("h3, .name, .last, .message, time, .day, dl"))
      text.style.visibility = "hidden";
  });
  const after = await pictures();
  return boxes.filter((box, i) => before[i] !== after[i]).map((box) => ({ "painted over": box }));
}

async function layoutHolds() {
  for (const name of ["inbox", "hostile"])
    for (const width of [320, ...WIDTHS, 2560])
      check(`${name}: nothing overflows, overlaps or collapses at ${width} px`,
        await withPage(`${name}.html`, width, "light", async (page) =>
          page.evaluate(readLayout)));
  check("hostile: nothing is painted over a badge (both widths)",
    await eachLook((width, theme) => theme === "light"
      ? withPage("hostile.html", width, theme, (page) => paintedOver(page, width)) : []));
  check("hostile: text twice as large still fits a phone",
    await withPage("hostile.html", 390, "light", async (page) => {
      await page.call("Emulation.setDeviceMetricsOverride",
        { width: 195, height: 422, deviceScaleFactor: 2, mobile: false });
      return page.evaluate(readLayout);
    }));
  check("list and view stand one under the other on a phone, side by side on a desktop",
    (await Promise.all(WIDTHS.map((width) => withPage("inbox.html", width, "light", (page) =>
      page.evaluate(() => {
        const [list, views] = [...document.querySelectorAll("section")].map((section) =>
          section.getBoundingClientRect());
        return views.left >= list.right ? "beside" : views.top >= list.bottom ? "under" : "over";
      }))))).flatMap((got, i) => differences(WIDTHS[i], got, ["under", "beside"][i])));
}

// The contrast of every piece of text with what lies behind it. A background that is not opaque is
// a fault: then what lies behind is not known.
const readContrast = () => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const bytes = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((byte) =>
      byte <= 10 ? byte / 255 / 12.92 : ((byte / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const [r, g, b, a] = bytes(getComputedStyle(at).backgroundColor);
      if (a > 0) return [r, g, b, a];
    }
    return [0, 0, 0, 0];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const faults = [];
  let least = 21;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (walker.currentNode.data.trim() === "") continue;
    const style = getComputedStyle(element);
    const [r, g, b, a] = bytes(style.color);
    const back = behind(element);
    const [x, y] = [luminance([r, g, b]), luminance(back.slice(0, 3))];
    const contrast = (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
    least = Math.min(least, contrast);
    if (contrast < 4.5 || a < 255 || back[3] < 255 || style.opacity !== "1")
      faults.push({ text: walker.currentNode.data.slice(0, 40), contrast, alpha: [a, back[3]] });
  }
  return { faults, least };
};

async function contrastIsEnough() {
  let least = 21;
  const faults = await eachLook((width, theme) =>
    withPage("hostile.html", width, theme, async (page) => {
      const found = await page.evaluate(readContrast);
      least = Math.min(least, found.least);
      return found.faults;
    }));
  check(`all text has a contrast of at least ${TEXT_CONTRAST} : 1 (all looks; the least is ` +
    `${least.toFixed(1)})`, faults);
  const [light, dark] = await Promise.all(THEMES.map((theme) =>
    withPage("inbox.html", 390, theme, (page) =>
      page.evaluate(() => getComputedStyle(document.body).backgroundColor))));
  check("the page has a light and a dark look", light === dark ? [{ light, dark }] : []);
}

async function accessibleRoles(page) {
  await page.call("Accessibility.enable");
  const { nodes } = await page.call("Accessibility.getFullAXTree");
  return nodes.filter((node) => !node.ignored).map((node) => ({
    role: node.role?.value, name: node.name?.value,
    level: node.properties?.find(({ name }) => name === "level")?.value.value,
  }));
}

async function readsAloud() {
  const roles = await withPage("inbox.html", 390, "light", accessibleRoles);
  const of = (role) => roles.filter((node) => node.role === role);
  const count = EXPECTED.inbox.length;
  check("a screen reader finds banner, main, contentinfo, and two regions by name", [
    ...differences("banner", of("banner").length, 1), ...differences("main", of("main").length, 1),
    ...differences("contentinfo", of("contentinfo").length, 1),
    ...differences("regions", of("region").map(({ name }) => name), ["Conversations", "In full"]),
  ]);
  check("a screen reader finds a list item and an article, by its name, for each conversation", [
    ...differences("items", of("listitem").length, count + EXPECTED.inbox.flatMap(
      ({ messages }) => messages).length),
    ...differences("articles", of("article").map(({ name }) => name.trim()),
      EXPECTED.inbox.map(({ name }) => name.trim())),
  ]);
  check("headings go down by one level: page, part, conversation",
    differences("levels", of("heading").map(({ level }) => level),
      [1, 2, 2, ...Array(count).fill(3)]));
  const said = of("StaticText").map(({ name }) => name.trim());
  const times = (words) => said.filter((name) => name === words).length;
  const have = (label) => EXPECTED.inbox.filter(({ badge }) => badge === label).length;
  check("a screen reader says label and copy of every badge, and nothing of its icon",
    Object.entries(COPY).flatMap(([label, copy]) => [
      ...differences(label, times(label), 2 * have(label)),
      ...differences(copy, times(copy), 2 * have(label)),
    ]));
  const page = await withPage("inbox.html", 390, "light", (it) => it.evaluate(() => ({
    language: document.documentElement.lang, title: document.title,
    telephone: document.querySelector("meta[name=format-detection]")?.content.includes("telephone=no"),
    zoom: !/user-scalable|maximum-scale/.test(document.querySelector("meta[name=viewport]").content),
  })));
  check("the page has a language and a title, makes no links of numbers, and may be zoomed",
    differences("page", page,
      { language: "en", title: "Inbox of marta", telephone: true, zoom: true }));
}

async function scrollsByKey() {
  check("the page is read by keyboard: keys scroll it to its end",
    await withPage("inbox.html", 390, "light", async (page) => {
      for (const type of ["rawKeyDown", "keyUp"])
        await page.call("Input.dispatchKeyEvent",
          { type, key: "End", code: "End", windowsVirtualKeyCode: 35 });
      for (let i = 0; i < 50; i++) {
        const [end, height, top] = await page.evaluate(() =>
          [document.querySelector("footer").getBoundingClientRect().bottom, innerHeight, scrollY]);
        if (end <= height && top > height) return [];
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      return ["the end was not reached"];
    }));
}

async function axeIsContent() {
  for (const name of ["inbox", "plain", "hostile", "empty"])
    check(`${name}: axe-core finds no violation (all looks)`,
      await eachLook((width, theme) => withPage(`${name}.html`, width, theme, async (page) => {
        await page.evaluate(`() => { ${AXE}; }`);
        const result = await page.evaluate(() => axe.run(document));
        if (result.passes.length < 10) return [{ what: "axe has checked next to nothing" }];
        return result.violations.map(({ id, nodes }) => ({ id, nodes: nodes.map((n) => n.html) }));
      })));
}

// ---- Pictures, for a person to look at

async function takeScreenshots() {
  mkdirSync(screenshots, { recursive: true });
  const faults = await eachLook((width, theme) =>
    withPage("inbox.html", width, theme, async (page) => {
      const { data } = await page.call("Page.captureScreenshot", { format: "png" });
      const bytes = Buffer.from(data, "base64");
      writeFileSync(join(screenshots, `inbox-${width}-${theme}.png`), bytes);
      return bytes.readUInt32BE(16) === width && bytes.length > 10000 ? [] : [{ what: "empty" }];
    }));
  check(`screenshots of both widths and both themes are in ${screenshots}`, faults);
}

const GROUPS = [
  everybodyIsShown, exactlyOneBadge, noBadgeWithoutTheFlag, emptyInbox, hostileNamesAreText,
  sameInBothPlaces,
  calmColours, nothingToDo, nothingChanges, policyHolds, layoutHolds, contrastIsEnough,
  readsAloud, scrollsByKey, axeIsContent, takeScreenshots,
];

for (const group of GROUPS) {
  try {
    await group();
  } catch (error) {
    check(`${group.name} ran to its end`, [error.message]);
  }
}
await browser.close();
console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
