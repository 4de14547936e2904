import { decisionText, waitingText } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import { translated } from '../src/reading/translate.js';

const ENGLISH = /[a-z]{3,}/;
const lent = { streams: 8, workers: 2, uncovered: 0, pausedBy: [] };

describe("the coordinator's texts", () => {
  it('stay English on the English page', () => {
    expect(translated('the run starts', 'en')).toEqual({ text: 'the run starts', language: 'en' });
  });

  it('of usual decisions are translated as the coordinator writes them', () => {
    const texts = [
      waitingText('noWorker'),
      decisionText({ kind: 'paused', by: 'ADMIN' }),
      decisionText({ kind: 'resumed', by: 'ADMIN', lent }),
      decisionText({ kind: 'late', workers: ['ADA', 'BO'], lent }),
      decisionText({ kind: 'workerLeft', worker: 'ADA', reason: 'X', lent: { ...lent, streams: 0, uncovered: 3 } }),
      ...['the run starts', 'the run continues from round 30', 'completed at round 9', 'stopped at round 9'],
      ...['from the next round: learning rate 0.005, clip 1', 'ADA joined: X', 'a checkpoint was saved', 'resumed'],
      'the ban of ADA at 10.0.0.1 was lifted',
    ];
    for (const text of texts) {
      const { text: shown, language } = translated(text, 'zh');
      expect(language, text).toBe('zh');
      expect(shown, text).not.toMatch(ENGLISH);
    }
  });

  it('keep names and figures', () => {
    const busy =
      '20 workers on thin links: busy 12 % of the time; --local-steps 32 --tracks 20 --codec int8-both would make it 90 %';
    expect(translated(busy, 'zh')).toEqual({
      text: '20 个节点的网络较慢：只有 12 % 的时间在计算；用 --local-steps 32 --tracks 20 --codec int8-both 可达 90 %',
      language: 'zh',
    });
    expect(translated('Ada Lovelace left (link closed); 8 streams lent to 2 workers', 'zh').text).toBe(
      'Ada Lovelace 离开（link closed）；8 个流分配给 2 个节点',
    );
    expect(translated('saved best.safetensors at round 1200', 'zh').text).toBe('第 1200 轮已保存 best.safetensors');
  });

  it('of an unknown pattern stay in English and are marked as that', () => {
    expect(translated('something new', 'zh')).toEqual({ text: 'something new', language: 'en' });
  });
});
