// SPDX-License-Identifier: MIT
//
// Headless Chromium over its debugging pipe: JSON messages, each ended by a NUL, on the file
// descriptors 3 (to the browser) and 4 (from it). No port is opened, and nothing but Node's own
// modules is needed.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

// Without the switches of the second line the browser looks for hosts of its maker's by itself.
const SWITCHES = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--disable-quic", "--no-first-run", "--no-default-browser-check", "--mute-audio",
  "--remote-debugging-pipe",
];

const ANSWER_MS = 60000;

export async function openBrowser(program) {
  const profile = mkdtempSync(join(tmpdir(), "custmem-page-"));
  const child = spawn(program, [...SWITCHES, `--user-data-dir=${profile}`, "about:blank"], {
    stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
  });
  const waiting = new Map();
  const listeners = new Set();
  let last = 0;
  let rest = Buffer.alloc(0);

  const fail = (why) => {
    for (const { reject } of waiting.values()) reject(new Error(why));
    waiting.clear();
  };
  child.on("error", (error) => fail(`${program}: ${error.message}`));
  child.on("exit", (code) => fail(`the browser has ended (${code})`));
  child.stdio[3].on("error", () => {});
  child.stdio[4].on("data", (bytes) => {
    rest = Buffer.concat([rest, bytes]);
    for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0)) {
      const message = JSON.parse(rest.subarray(0, end).toString());
      rest = rest.subarray(end + 1);
      const answer = waiting.get(message.id);
      waiting.delete(message.id);
      if (answer && message.error) answer.reject(new Error(message.error.message));
      else if (answer) answer.resolve(message.result);
      else for (const listener of listeners) listener(message);
    }
  });

  const send = (method, params = {}, sessionId = undefined) =>
    new Promise((resolve, reject) => {
      const id = ++last;
      const timer = setTimeout(() => {
        waiting.delete(id);
        reject(new Error(`no answer to ${method}`));
      }, ANSWER_MS);
      const settle = (done) => (value) => {
        clearTimeout(timer);
        done(value);
      };
      waiting.set(id, { resolve: settle(resolve), reject: settle(reject) });
      child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });

  const close = async () => {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    await send("Browser.close").catch(() => child.kill("SIGKILL"));
    await ended;
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  };

  return { openPage: (options) => openPage({ send, listeners }, options), close };
}

// A new page at a width and in a theme; `requests` are the addresses that it asked for, `reports`
// what the browser had to say about it: errors, warnings, what the policy forbade.
async function openPage({ send, listeners }, { url, width, height, theme }) {
  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
  const call = (method, params) => send(method, params, sessionId);
  const requests = [];
  const reports = [];
  let loaded;
  const loading = new Promise((resolve) => (loaded = resolve));

  const listener = (message) => {
    if (message.sessionId !== sessionId) return;
    const { method, params } = message;
    if (method === "Network.requestWillBeSent") requests.push(params.request.url);
    if (method === "Log.entryAdded") reports.push(params.entry.text);
    if (method === "Runtime.consoleAPICalled") reports.push(`console.${params.type}`);
    if (method === "Runtime.exceptionThrown") reports.push(params.exceptionDetails.text);
    if (method === "Audits.issueAdded") reports.push(params.issue.code);
    if (method === "Page.loadEventFired") loaded();
  };
  listeners.add(listener);
  for (const domain of ["Page", "Network", "Log", "Runtime", "Audits", "DOM"])
    await call(`${domain}.enable`);
  await call("Emulation.setDeviceMetricsOverride", {
    width, height, deviceScaleFactor: 1, mobile: false,
  });
  await call("Emulation.setEmulatedMedia", {
    features: [
      { name: "prefers-color-scheme", value: theme },
      { name: "prefers-reduced-motion", value: "reduce" },
    ],
  });
  requests.length = 0;
  reports.length = 0;
  await call("Page.navigate", { url });
  await loading;

  // Runs a function in the page, on arguments that JSON can carry, and gives what it returns.
  const evaluate = async (run, ...args) => {
    const expression = `(${run})(...${JSON.stringify(args)})`;
    const { result, exceptionDetails } = await call("Runtime.evaluate", {
      expression, returnByValue: true, awaitPromise: true, includeCommandLineAPI: true,
    });
    if (exceptionDetails)
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  };

  const close = async () => {
    listeners.delete(listener);
    await send("Target.closeTarget", { targetId });
  };

  return { call, evaluate, requests, reports, close };
}
