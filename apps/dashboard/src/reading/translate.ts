/** The coordinator's English texts in the language of the page, where their pattern is known. */
import type { Language } from '../texts.js';

export interface Translated {
  readonly text: string;
  /** The language that it is in: English when the pattern is not known. */
  readonly language: Language;
}

type Rule = readonly [RegExp, (...parts: string[]) => string];

/** What is lent follows many decisions, after a semicolon. */
const LENT: readonly Rule[] = [
  [/^(\d+) streams? lent to (\d+) workers?$/, (streams, workers) => `${streams} 个流分配给 ${workers} 个节点`],
  [/^(\d+) streams? waits? for a free worker$/, (streams) => `${streams} 个流等待空闲节点`],
  [/^every stream is counted or lent$/, () => '所有流已计入或已分配'],
  [/^nothing is lent while the run is paused by (.+)$/, (by) => `${by} 暂停期间不分配任务`],
];

const RULES: readonly Rule[] = [
  [/^no worker is connected; the run continues when one joins$/, () => '没有节点在线；有节点加入后继续'],
  [
    /^paused by (.+): open leases still count, no new ones are dealt$/,
    (by) => `由 ${by} 暂停：已分配的任务仍计入，不再分配新任务`,
  ],
  [/^paused by (\S+)$/, (by) => `由 ${by} 暂停`],
  [/^resumed by ([^;]+)$/, (by) => `由 ${by} 继续`],
  [/^resumed by ([^;]+); (.+)$/, (by, lent) => `由 ${by} 继续；${part(lent)}`],
  [/^late: ([^;]+); (.+)$/, (names, lent) => `超时：${names}；${part(lent)}`],
  [
    /^parked: (.+); its link is too slow for the updates of this run; it is tried again in (\d+) minutes?$/,
    (name, minutes) => `待命：${name}；它的链路跟不上本次训练的更新；${minutes} 分钟后再试`,
  ],
  [/^(.+?) left \((.+)\); ([^;]+)$/, (name, why, lent) => `${name} 离开（${why}）；${part(lent)}`],
  [
    /^(.+?) is banned: the coordinator computed its lease again, and ([^;]+); (.+)$/,
    (name, why) => `${name} 被禁止：协调器重新计算了它的任务，结果不同（${why}）`,
  ],
  [
    /^(\d+) workers? on thin links: busy (\d+ %) of the time; (--local-steps \d+ --tracks \d+ --codec int8-both) would make it (\d+ %)$/,
    (workers, busy, flags, then) => `${workers} 个节点的网络较慢：只有 ${busy} 的时间在计算；用 ${flags} 可达 ${then}`,
  ],
  [/^(.+?) paused \((.+)\); ([^;]+)$/, (name, why, lent) => `${name} 暂停（${why}）；${part(lent)}`],
  [/^(.+?) joined: (.*)$/, (name, how) => `${name} 加入：${how}`],
  [/^(.+?) left: (.*)$/, (name, why) => `${name} 离开：${why}`],
  [/^(.+?) ready: (.*)$/, (name, how) => `${name} 就绪：${how}`],
  [/^(.+?) refused: (.*)$/, (name, why) => `${name} 被拒绝：${why}`],
  [/^saved (\S+) at round (\d+)$/, (file, round) => `第 ${round} 轮已保存 ${file}`],
  [/^a checkpoint was saved$/, () => '检查点已保存'],
  [/^the first round is about to start$/, () => '第一轮即将开始'],
  [/^validation is behind, and a reproducible run waits for it$/, () => '验证尚未完成，可复现的训练会等待它'],
  [/^all rounds are complete$/, () => '所有轮次已完成'],
  [/^stopped$/, () => '已停止'],
  [/^the run starts$/, () => '训练开始'],
  [/^the run continues from round (\d+)$/, (round) => `训练从第 ${round} 轮继续`],
  [/^completed at round (\d+)$/, (round) => `在第 ${round} 轮完成`],
  [/^stopped at round (\d+)$/, (round) => `在第 ${round} 轮停止`],
  [/^paused: results that are already being computed still count$/, () => '已暂停：正在计算的结果仍计入'],
  [/^resumed$/, () => '已继续'],
  [/^stopped: the run is saved, then it ends$/, () => '已停止：保存后结束'],
  [/^the ban of (.+) at (\S+) was lifted$/, (name, address) => `已解除对 ${name}（${address}）的封禁`],
  [/^the run goes back from round (\d+) to round (\d+)$/, (from, to) => `训练从第 ${from} 轮回到第 ${to} 轮`],
  [
    /^the run goes back from round (\d+) to round (\d+) with learning rate (\S+)$/,
    (from, to, rate) => `训练从第 ${from} 轮回到第 ${to} 轮，学习率 ${rate}`,
  ],
  [
    /^an admin took the run back from round (\d+) to round (\d+); what came after is in (\S+)$/,
    (from, to, folder) => `管理员将训练从第 ${from} 轮带回第 ${to} 轮；之后的内容保存在 ${folder}`,
  ],
  [/^from the next round: (.+)$/, (changes) => `从下一轮起：${changes.split(', ').map(part).join('，')}`],
];

const CHANGES: readonly Rule[] = [
  [/^learning rate (\S+)$/, (rate) => `学习率 ${rate}`],
  [/^clip (\S+)$/, (clip) => `裁剪阈值 ${clip}`],
  [/^no clipping$/, () => '不裁剪'],
];

/** A text of which no pattern is known stays as it is: what it says matters more than its language. */
export function translated(text: string, language: Language): Translated {
  const found = language === 'en' ? undefined : apply(RULES, text);
  return found === undefined ? { text, language: 'en' } : { text: found, language };
}

const part = (text: string): string => apply([...LENT, ...CHANGES], text) ?? text;

function apply(rules: readonly Rule[], text: string): string | undefined {
  for (const [pattern, write] of rules) {
    const match = pattern.exec(text);
    if (match) return write(...match.slice(1));
  }
  return undefined;
}

/** The value of a `lang` attribute. */
export const langOf = (language: Language): string => (language === 'zh' ? 'zh-CN' : 'en');
