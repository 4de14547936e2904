import { configFromFlags, parseTrainingConfig } from '@troupe/config';
import { describe, expect, it } from 'vitest';
import { createRunHistory, reportPage, type ReportedRun, type RunHistory } from '../src/index.js';

const parsed = parseTrainingConfig(configFromFlags((flag) => ({ '--rounds': '100' })[flag], 65));
const config = parsed.ok ? parsed.config : undefined!;
const HOSTILE = `<script>alert("1")</script>'&`;
const SAFE = '&#60;script&#62;alert(&#34;1&#34;)&#60;/script&#62;&#39;&#38;';

function historyOf(rounds: number, trainLoss = (round: number): number => 4 - round / 50): RunHistory {
  const history = createRunHistory();
  const header = {
    runId: 'r1',
    name: HOSTILE,
    model: HOSTILE,
    corpus: HOSTILE,
    config,
    parameters: 1_234,
    startedAt: 1_764_000_000_000,
  };
  history.add({ type: 'run', run: header });
  for (let round = 1; round <= rounds; round++) {
    const times = { roundMs: round === 30 ? 60_000 : 200, computeMs: 150, transferMs: 20, reduceMs: 20, waitingMs: 10 };
    const figures = { trainLoss: trainLoss(round), gradientNorm: 1, clipScale: 1, learningRate: 0.01, charsPerSecond: 10 };
    history.addRound({ round, workers: round > 50 ? 3 : 2, ...times, ...figures });
  }
  for (const round of [20, 40]) history.add({ type: 'evaluation', evaluation: { round, validationLoss: 2 + round / 100 } });
  history.add({ type: 'sample', sample: { round: 40, text: `${HOSTILE}\nverse` } });
  history.addEvent({ at: 1_764_000_001_000, round: 5, kind: 'note', level: 'warn', text: HOSTILE });
  return history;
}

function pageOf(run: Partial<ReportedRun>): string {
  const files = [{ name: HOSTILE, bytes: 1e6, sha256: 'ab'.repeat(32) }];
  return reportPage([{ folder: 'runs/001', program: 'troupe', files, history: historyOf(100), ...run }]);
}

describe('the report of a run', () => {
  it('shows its figures, without the time of a pause', () => {
    const page = pageOf({});
    expect(page).toContain('Complete: 100 rounds.');
    expect(page).toMatch(/Best validation<\/dt><dd>2\.200<\/dd><dd class="quiet">at round 20/);
    expect(page).toMatch(/Last validation<\/dt><dd>2\.400<\/dd><dd class="quiet">at round 40/);
    expect(page).toMatch(new RegExp(`Throughput</dt><dd>${(5 * config.streams * config.window).toLocaleString('en')} chars/s`));
    expect(page).toContain('median; at most 3');
    expect(page).toContain('ab'.repeat(32));
    expect(page).toContain('<th scope="row">optimizer.kind</th><td>adam</td>');
    expect(page.match(/<svg /g)).toHaveLength(4);
    expect(page).toContain('24 Nov 2025, 16:00');
  });

  it('shows every text as it is, and runs and loads nothing', () => {
    const page = pageOf({ folder: HOSTILE, program: HOSTILE });
    expect(page).not.toContain(HOSTILE);
    expect(page.split(SAFE).length).toBeGreaterThan(9);
    expect(page).not.toMatch(/<script|<link|<img|<iframe|\bsrc=|\bhref=|url\(|@import|\son\w+=/i);
    expect(page).toContain(`content="default-src 'none'; style-src 'unsafe-inline'`);
  });

  it('says how to continue: longer, on, or from before the divergence', () => {
    expect(pageOf({ folder: 'my runs/1' })).toContain('troupe train --resume --out &#39;my runs/1&#39; --rounds 200');
    expect(pageOf({ history: historyOf(60) })).toMatch(
      /At round 60 of 100\.[\s\S]*>troupe train --resume --out runs\/001\ntroupe sample/,
    );
    const diverged = historyOf(60, (round) => (round > 40 ? 30 : 3));
    expect(pageOf({ history: diverged })).toMatch(/Diverged at round 60[\s\S]*--resume --out runs\/001 --lr 0\.005/);
  });

  it('draws what there is', () => {
    const history = createRunHistory();
    history.add({ type: 'run', run: historyOf(1).run! });
    const nothing = {
      roundMs: 1,
      computeMs: 0,
      transferMs: 0,
      reduceMs: 0,
      waitingMs: 0,
      clipScale: 1,
      workers: 1,
      charsPerSecond: 1,
    };
    history.addRound({ round: 1, trainLoss: NaN, gradientNorm: NaN, learningRate: 0, ...nothing });
    expect(reportPage([{ folder: 'a', program: 'troupe', files: [], history }]).match(/<svg /g)).toHaveLength(2);
  });

  it('compares several runs in one chart', () => {
    const run = { folder: 'a', program: 'troupe', files: [], history: historyOf(50) };
    const page = reportPage([run, { ...run, folder: 'b' }]);
    expect(page).toContain('<title>2 runs</title>');
    expect(page.match(/<section>/g)).toHaveLength(2);
    expect(page).toMatch(/figure class="wide"[\s\S]*>a \([\s\S]*>b \(/);
  });
});
