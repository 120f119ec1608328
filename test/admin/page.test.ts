/**
 * The live page in Chromium: it draws the machine and its workers, tells of a stall that was made on
 * purpose, survives a reload of the runtime, in light and in dark, and by keyboard.
 */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import t, { type Test } from 'tap';
import type { RuntimeOptions } from '../../src/index.js';
import { app, portOf, start } from '../support/app.js';
import { skipWithout, whereIs } from '../support/programs.js';
import { ask, whereOf } from './asking.js';
import { stallUntil } from './blamed.js';

t.setTimeout(90_000);
t.jobs = 3; // they mostly wait for the next second

/** Debian's, or another. */
const CHROMIUM = process.env.GYRE_CHROMIUM ?? 'chromium';
const missing = skipWithout(CHROMIUM, 'chromium');

/** Where a picture of the page is to be left, for the README; usually nowhere. */
const PICTURES = process.env.GYRE_PICTURES;

let browser: Browser;
t.before(async () => {
  const executablePath = whereIs(CHROMIUM);
  if (executablePath === null) return;
  // Without a sandbox, which root, as CI has it, cannot have. It sees this page only.
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
});
t.teardown(() => browser?.close());

interface Opened {
  readonly page: Page;
  /** What went wrong in it: errors, and requests to anywhere but the endpoint. */
  readonly wrong: string[];
}

async function open(t: Test, url: string): Promise<Opened> {
  const page = await browser.newPage({
    colorScheme: 'light',
    viewport: { width: 1100, height: 900 },
  });
  t.teardown(() => page.close());
  const wrong: string[] = [];
  page.on('pageerror', (error) => wrong.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') wrong.push(message.text());
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(url)) wrong.push(`it asks for ${request.url()}`);
  });
  await page.goto(url);
  return { page, wrong };
}

async function serve(t: Test, options: Partial<RuntimeOptions> = {}) {
  const runtime = await start(t, app('blamed.js'), {
    ...{ workers: 2, spares: 0, name: 'shop', blame: true },
    ...{ admin: { listen: '127.0.0.1:0', requestTimes: true }, ...options },
  });
  const { port } = runtime.admin.endpoint as { port: number };
  return { runtime, url: `http://127.0.0.1:${port}/` };
}

t.test(
  'it shows the machine, follows a stall, and survives a reload',
  { skip: missing },
  async (t) => {
    const { runtime, url } = await serve(t);
    const { page, wrong } = await open(t, url);
    await page.locator('#rows tr').nth(1).waitFor();
    t.equal(await page.locator('#name').textContent(), 'shop');
    t.match(await page.locator('#state').textContent(), 'serving');
    t.equal(await page.locator('#rows tr').count(), 2, 'a row for each worker');
    for (const { cpu } of runtime.workers) {
      if (cpu === null) continue;
      t.equal(
        await page.locator(`#plan rect.cpu[data-cpu="${cpu}"]`).count(),
        1,
        'its CPU is drawn',
      );
    }
    const [plan, log] = [page.locator('#plan'), page.locator('#log')];
    // The plan shows one second, so what it showed is remembered.
    let [drawn, told] = [false, false];
    const has = async () => {
      drawn ||= (await plan.locator('.move').count()) > 0;
      told ||= /(rescued|given) from worker \d/.test((await plan.getAttribute('aria-label')) ?? '');
      const text = (await log.textContent()) ?? '';
      const logged = [/stood still in computeSlowly/, /rescued from worker \d/];
      return drawn && told && logged.every((each) => each.test(text));
    };
    await stallUntil(t, portOf(runtime), has);
    t.ok(drawn, 'moves are arrows');
    t.ok(told, 'and words');
    t.ok(await has(), (await log.textContent()) ?? '');
    await page
      .locator('#blamed')
      .getByText(/computeSlowly \(.*blamed\.js:5\)/)
      .waitFor();
    t.match(
      await page.locator('#latency').getAttribute('aria-label'),
      /^Half of the requests took/,
    );
    t.ok((await page.locator('#latency rect').count()) > 1, 'a bar for each duration');
    if (PICTURES !== undefined) {
      mkdirSync(PICTURES, { recursive: true });
      await page.screenshot({ path: path.join(PICTURES, 'page.png'), fullPage: true });
    }
    await runtime.reload();
    await log.getByText('every worker was replaced').waitFor();
    const rows = page.locator('#rows');
    const before = await rows.innerHTML();
    while ((await rows.innerHTML()) === before) await page.waitForTimeout(100);
    t.equal(await page.locator('#rows tr').count(), 2);
    t.match(await page.locator('#state').textContent(), 'serving');
    t.same(wrong, []);
    await runtime.close({ drainMs: 0 });
    await page.locator('#state.alarm').waitFor();
    t.match(
      await page.locator('#state').textContent(),
      'No answer',
      'it says when there is nobody',
    );
  },
);

t.test('it can be read in the dark, and used by keyboard', { skip: missing }, async (t) => {
  const { url } = await serve(t);
  /** Of the page's first element `selector`, as the browser shows it. Evaluated there, so a text. */
  const styled = (page: Page, selector: string, property: string) =>
    page.evaluate<string>(`getComputedStyle(document.querySelector('${selector}')).${property}`);
  /** From 0 to 255. */
  const brightness = (colour: string) => {
    const [r = 0, g = 0, b = 0] = (colour.match(/\d+/g) ?? []).map(Number);
    return 0.299 * r + 0.587 * g + 0.114 * b;
  };
  const contrast = async (page: Page) => [
    brightness(await styled(page, 'body', 'color')),
    brightness(await styled(page, 'body', 'backgroundColor')),
  ];
  const { page, wrong } = await open(t, url);
  const [lightText = 0, lightGround = 0] = await contrast(page);
  await page.emulateMedia({ colorScheme: 'dark' });
  const [darkText = 0, darkGround = 0] = await contrast(page);
  t.ok(lightGround - lightText > 150, `${lightText} on ${lightGround}`);
  t.ok(darkText - darkGround > 150, `${darkText} on ${darkGround}`);
  await page.locator('#rows tr').nth(1).waitFor();
  const floor = brightness(await styled(page, '#plan .floor', 'fill'));
  t.ok(floor < 80, `boxes are dark as well: ${floor}`);
  await page.keyboard.press('Tab');
  t.equal(await page.locator(':focus').textContent(), 'Skip to the workers');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Space');
  t.equal(await page.locator('#pause').getAttribute('aria-pressed'), 'true');
  const names = await page.locator('h1, h2').allTextContents();
  t.ok(names.length >= 5 && names.every((name) => name !== ''), 'headings to jump between');
  t.equal(await page.locator('html').getAttribute('lang'), 'en');
  for (const id of ['plan', 'latency']) {
    t.equal(await page.locator(`#${id}`).getAttribute('role'), 'img');
    t.ok(await page.locator(`#${id}`).getAttribute('aria-label'), 'pictures are told in words');
  }
  t.same(wrong, []);
});

t.test('with a token it asks for that, and shows nothing before', { skip: missing }, async (t) => {
  const token = 'a-token-of-the-test';
  const { url } = await serve(t, { admin: { listen: '127.0.0.1:0', token } });
  const { page } = await open(t, url);
  await page.locator('#ask').waitFor();
  t.equal(await page.locator('#rows tr').count(), 0);
  await page.locator('#token').fill(token);
  await page.keyboard.press('Enter');
  await page.locator('#rows tr').nth(1).waitFor();
  t.equal(await page.locator('#ask').isVisible(), false);
});

t.test('its files come from nowhere else and into no frame', async (t) => {
  const { runtime } = await serve(t);
  const where = whereOf(runtime.admin.endpoint);
  for (const [target, type] of [
    ['/', 'text/html'],
    ['/page.css', 'text/css'],
    ['/page.js', 'text/javascript'],
  ] as const) {
    const { status, headers, body } = await ask(where, target);
    t.match({ status, headers }, { status: 200, headers: { 'content-type': type } }, target);
    t.match(headers['content-security-policy'], "default-src 'none'");
    t.match(headers['content-security-policy'], "frame-ancestors 'none'");
    t.notMatch(
      body.replaceAll('http://www.w3.org/2000/svg', ''),
      /https?:\/\//,
      'no other address',
    );
  }
  const plan = await ask(where, '/floor-plan');
  t.match(plan, { status: 200, headers: { 'content-type': 'image/svg+xml; charset=utf-8' } });
  t.match(plan.body, 'data-cpu="');
});
