/** The dashboard in a real browser, with a real coordinator and real workers. */
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Tab } from './chromium.js';
import { setStage, TOKEN, type Run } from './stage.js';
import { at, childrenOf, named, type Line, type Running } from './troupe.js';

const ADMIN = 'a-token-of-admins';
const MARKUP = '<img src=x onerror=broken=1><b>Ada</b>';
const SOON = { timeout: 30_000 };

const stage = setStage('dashboard', ['--lang=en-GB']);

/** A run with data for every chart. */
function coordinate(out: string, ...args: string[]): Promise<Run> {
  const frequent = ['--eval-every', '10', '--sample-every', '10', '--checkpoint-every', '20'];
  return stage.coordinate(path.join(out, 'run'), '--admin-token', ADMIN, ...frequent, ...args);
}

const work = (run: Run, name = 'Grace'): Running => stage.work(run, name);

async function visit(url: string): Promise<Tab> {
  const tab = await stage.visit(url);
  // Charts out of sight are not drawn.
  await tab.resize(1280, 1600);
  return tab;
}

/** Opens the dashboard link that the coordinator prints. */
const steer = (run: Run): Promise<Tab> => visit(`${run.origin}/#admin=${ADMIN}`);

const element = (selector: string): string => `document.querySelector(${JSON.stringify(selector)})`;
const visible = (selector: string): string => `${element(selector)}.checkVisibility()`;
const says = (selector: string, pattern: RegExp): string => `${pattern.toString()}.test(${element(selector)}.textContent)`;
const lossShown = says('#stat-loss', /^\d\.\d{3}$/);
const roundOf = async (tab: Tab): Promise<number> =>
  Number(/round ([\d,]+)/.exec(await tab.text('#progress-text'))![1].replaceAll(',', ''));
/** Rows of the table of the first chart, which shows the loss. */
const LOSS_TABLE = `(() => { const d = document.querySelector('#chart-grid details'); d.open = true;
  return [...d.querySelectorAll('tbody tr')].map((row) => [...row.children].map((cell) => cell.textContent)); })()`;

describe.skipIf(stage.missing !== undefined)('the dashboard', () => {
  it('shows figures, curves, samples, workers and gradient flow', async () => {
    const run = await coordinate('learns', '--public', '--name', 'Sonnets');
    work(run);
    const tab = await visit(run.origin);
    await run.running.line(at(40));
    await tab.until(lossShown);
    expect(await tab.text('#run-name')).toBe('Sonnets');
    await tab.until(says('#phase', /^Running/));
    await tab.until(says('#stat-validation', /\d\.\d{3}/));
    await tab.until(`${element('.plot canvas')} !== null`);
    await tab.until(says('#workers-table tbody', /Grace.*wasm/));
    await tab.until(`${element('#sample')}.textContent.length > 20`);
    await tab.until(says('#flow-lessons', /layer 1/), 60_000);
    await tab.until(`${LOSS_TABLE}.length > 2`);
    const [first] = await tab.evaluate<string[][]>(LOSS_TABLE);
    expect(first[0]).toBe('1');
    expect(Number(first[1])).toBeGreaterThan(3);
    expect(
      await tab.evaluate(`performance.getEntriesByType('resource').every(({ name }) => name.startsWith(location.origin))`),
    ).toBe(true);
    expect(tab.complaints).toEqual([]);
  });

  it('pauses and resumes with the admin token, which leaves the address and survives a reload', async () => {
    const run = await coordinate('steers');
    work(run);
    await run.running.line(at(3));
    const tab = await steer(run);
    await tab.until(visible('#controls'));
    expect(await tab.evaluate('location.href')).toBe(`${run.origin}/`);

    await tab.click('#pause');
    await tab.until(says('#pause', /^Resume$/));
    await tab.until(says('#phase', /^Paused/));
    const halted = await roundOf(tab);
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(await roundOf(tab)).toBeLessThanOrEqual(halted + 1);
    await tab.reload();
    await tab.until(says('#pause', /^Resume$/));
    await tab.click('#pause');
    await tab.until(says('#phase', /^Running/));
    await run.running.line(at(halted + 10));
    await tab.until(says('#event-list', /control/));
    expect(tab.complaints).toEqual([]);
  });

  it('saves, changes settings, invites, and stops after a confirmation', async () => {
    const run = await coordinate('commands');
    work(run);
    await run.running.line(at(3));
    const tab = await steer(run);
    await tab.until(visible('#steer'));
    const invitation = await tab.evaluate<string>(`${element('#invite-link')}.href`);
    expect(invitation).toMatch(/\/join\/#token=.{12,}$/);
    expect(invitation).not.toContain(TOKEN);
    expect(await tab.evaluate(`${element('#invite-code path')}.getAttribute('d').length`)).toBeGreaterThan(1_000);
    await tab.evaluate(`${element('#clip')}.value = '0.25'; ${element('#learning-rate')}.value = '0.004'`);
    await tab.click('#apply');
    await tab.until(says('#stat-rate-note', /clip norm 0\.25/));
    await tab.click('#checkpoint');
    await tab.until(says('#event-list', /checkpoint/));
    await tab.until(says('#announcement', /a checkpoint was saved/));
    await tab.evaluate(`URL.createObjectURL = ({ type }) => (globalThis.saved = type, 'blob:none')`);
    await tab.click('#home-web');
    await tab.until(`globalThis.saved === 'text/html; charset=utf-8'`);
    expect(await tab.text('#announcement')).toMatch(/^model-round-\d+\.html$/);

    await tab.click('#stop');
    await tab.until(visible('#dialog'));
    await tab.click('#dialog-no');
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(run.running.lines.some(named('finished'))).toBe(false);
    await tab.click('#stop');
    await tab.click('#dialog-yes');
    expect((await run.running.exited).code).toBe(0);
    expect((await run.running.line(named('finished'))).reason).toBe('stopped');
    await tab.until(says('#phase', /^Over/));
    await tab.until(says('#link', /run is over/));
  });

  it('bans a worker, shows why, and lifts the ban', async () => {
    const run = await coordinate('bans');
    work(run);
    await run.running.line(at(3));
    const tab = await steer(run);
    await tab.until(visible('#workers-table td.actions button:last-child'));
    expect(await tab.evaluate(visible('#bans'))).toBe(false);
    await tab.click('#workers-table td.actions button:last-child');
    await tab.click('#dialog-yes');
    await tab.until(says('#bans-table', /banned by an admin/), 20_000);
    await tab.click('#bans-table button');
    await tab.click('#dialog-yes');
    await tab.until(says('#announcement', /^the ban of .+ was lifted$/));
    await tab.until(`!${visible('#bans')}`, 20_000);
    expect(tab.complaints).toEqual([]);
  });

  it('shows no controls without a token, nor with a wrong one, and says what is wrong with it', async () => {
    const run = await coordinate('watches', '--public');
    work(run);
    const tab = await visit(run.origin);
    await tab.until(lossShown);
    for (const id of ['#controls', '#steer', '#invite']) expect(await tab.evaluate(visible(id))).toBe(false);
    expect(await tab.evaluate(`document.querySelectorAll('#workers-table td.actions:not([hidden])').length`)).toBe(0);
    const other = await visit(`${run.origin}/#admin=another-token`);
    await other.until(visible('#run'));
    await other.until(says('#announcement', /token/));
    expect(await other.evaluate(visible('#controls'))).toBe(false);
  });

  it('asks for the token where the run is not public', async () => {
    const run = await coordinate('private');
    const tab = await visit(run.origin);
    await tab.until(visible('#refused'));
    expect(await tab.evaluate(visible('#run'))).toBe(false);
    const enter = async (token: string): Promise<void> => {
      await tab.evaluate(`${element('#token')}.focus()`);
      await tab.type(token);
      await tab.press('Enter');
    };
    const before = await tab.text('#refused-why');
    await enter('another-token');
    await tab.until(`${element('#refused-why')}.textContent !== ${JSON.stringify(before)}`);
    await enter(` ${ADMIN} `);
    await tab.until(visible('#controls'));
    expect(await tab.evaluate(visible('#refused'))).toBe(false);
  });

  it('shows a name with markup as text, in the table, the log and a dialog', async () => {
    const run = await coordinate('markup');
    work(run, MARKUP);
    await run.running.line(at(3));
    const tab = await steer(run);
    await tab.until(`${element('#workers-table tbody th.name')} !== null`);
    expect(await tab.text('#workers-table tbody th.name')).toBe(MARKUP);
    await tab.until(`${element('#event-list')}.textContent.includes('<b>Ada</b>')`);
    await tab.click('#workers-table td.actions button');
    expect(await tab.text('#dialog-title')).toContain(MARKUP);
    expect(await tab.evaluate(`document.querySelectorAll('img, #workers b, #events b, dialog b').length`)).toBe(0);
    expect(await tab.evaluate('typeof broken')).toBe('undefined');
    await tab.click('#dialog-yes');
    const left = (line: Line): boolean => line.event === 'worker' && line.change === 'left';
    expect((await run.running.line(left)).name).toBe(MARKUP);
  });

  it('has the whole history after a reload', async () => {
    const run = await coordinate('reload', '--public');
    work(run);
    const tab = await visit(run.origin);
    await run.running.line(at(60));
    await tab.reload();
    await tab.until(lossShown);
    await tab.until(`${LOSS_TABLE}.length === 12`);
    const rows = await tab.evaluate<string[][]>(LOSS_TABLE);
    expect(rows[0][0]).toBe('1');
    expect(Number(rows.at(-1)![0].replaceAll(',', ''))).toBeGreaterThanOrEqual(60);
    // A sample is skipped when it is due while another one is written.
    await tab.until(`Number(${element('#sample-slider')}.max) >= 1`);
  });

  it('reconnects to a coordinator that was killed and resumed, and continues with it', async () => {
    const run = await coordinate('killed', '--public');
    work(run);
    const tab = await visit(run.origin);
    await run.running.line(at(50));
    await tab.until(lossShown);
    await run.running.line(named('checkpoint'));
    // The coordinator is a child process of the command.
    for (const { pid } of await childrenOf(run.running.child.pid!)) process.kill(pid, 'SIGKILL');
    await run.running.exited;
    await tab.until(says('#link', /^Reconnecting/));
    await tab.until(says('#link-wait', /\d/));
    // Screen readers do not read the seconds.
    expect(await tab.text('#link')).not.toMatch(/\d/);
    const before = await roundOf(tab);
    expect(before).toBeGreaterThan(0);
    const again = await coordinate('killed', '--public', '--resume', '--port', run.port);
    await tab.until(`${element('#link')}.textContent === ''`, 60_000);
    await again.running.line(at(before + 20));
    await expect.poll(() => roundOf(tab), SOON).toBeGreaterThanOrEqual(before + 20);
    const rounds = (await tab.evaluate<string[][]>(LOSS_TABLE)).map(([round]) => Number(round.replaceAll(',', '')));
    expect(rounds).toEqual([...new Set(rounds)].sort((a, b) => a - b));
  }, 120_000);

  it('compares the gradient flow of two cells in curves, figures and words', async () => {
    const first = await coordinate('compared', '--cell', 'rnn-tanh', '--out', 'compared/rnn');
    work(first);
    const flows = (): Promise<string> =>
      fetch(`${first.origin}/api/flow`, { headers: { authorization: `Bearer ${ADMIN}` } }).then((answer) => answer.text());
    await expect.poll(flows, SOON).toContain('"layers"');
    first.running.child.kill('SIGTERM');
    await first.running.exited;
    const run = await coordinate('compared', '--out', 'compared/lstm');
    work(run);
    const tab = await steer(run);
    const compared = `[...document.querySelectorAll('#flow-compared tbody tr')].map(({ textContent }) => textContent)`;
    await tab.until(`${compared}.length === 2`, 60_000);
    const [own, other] = await tab.evaluate<string[]>(compared);
    expect(own).toMatch(/1x32 LSTM.*this run.*\d steps.*%/);
    expect(other).toMatch(/1x32 tanh RNN.*\d steps.*%/);
    await tab.until(
      says('#flow-lessons', /In layer 1 (the gradient (vanishes|explodes|persists)|the gates let go of older text):/),
    );
    await tab.until(says('#flow-lessons', /Clipping limits the step, not the flow/));
  }, 120_000);

  it('writes text in the playground', async () => {
    const run = await coordinate('playground');
    work(run);
    await run.running.line(at(10));
    const tab = await steer(run);
    await tab.until(visible('#playground'));
    await tab.evaluate(`${element('#length')}.value = '80'; ${element('#prime')}.focus()`);
    await tab.type('Shall I ');
    await tab.click('#write');
    await tab.until(`${element('#written')}.textContent.length >= 88`);
    expect(await tab.text('#written')).toMatch(/^Shall I /);
    expect(await tab.text('#written-at')).toMatch(/round \d+/);
    await tab.until(`!${element('#write')}.disabled`);
    await tab.evaluate(`${element('#prime')}.value = '☃'; ${element('#play-form')}.requestSubmit()`);
    await tab.until(says('#announcement', /☃/));
    await tab.evaluate(`${element('#prime')}.value = '☃Shall '`);
    await tab.click('#skip-unknown');
    await tab.click('#write');
    await tab.until(`${element('#written')}.textContent.length >= 87`);
  });
});
