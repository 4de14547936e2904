/** Every text of the page, in every language it speaks. */
import type { EngineKind } from './messages.js';
import type { PauseReason } from './decisions/pause.js';
import type { RunPhase } from './decisions/run-facts.js';
import type { StopCode } from './decisions/status.js';

export type Language = 'en' | 'zh';

export const LANGUAGES: Readonly<Record<Language, string>> = { en: 'English', zh: '中文' };

interface Explained {
  readonly title: string;
  readonly what: string;
}

const EN = {
  documentTitle: 'Lend this browser to a training run',
  language: 'Language',
  lead: 'A small text model is being trained by many machines together. This browser can be one of them.',
  titleNamed: (run: string) => `Help train “${run}”`,
  title: 'Help train a text model',
  whatTitle: 'What happens when you start',
  whatComputes:
    'This page computes with the processor, or the graphics chip, of your device: pieces of text come in, numbers go back. Nothing is installed, and none of your files is read.',
  whatPower: 'It costs power, about as much as a game in the browser. Below you say how much of the device it may take.',
  whatStop: 'Pause, leave or close the page at any moment: others take over what was under way, and nothing is lost.',
  whatTraffic: (round: string, hour: string | undefined) =>
    hour === undefined ? `It costs traffic: about ${round} a round.` : `It costs traffic: at this moment about ${hour} an hour.`,
  whatTrafficUnknown: 'It costs traffic: parameters and gradients are exchanged every round. The amount is shown while it runs.',
  organizer: 'Who runs it',
  whatOrganizer: (organizer: string, host: string) => `${organizer} runs it; the numbers go to ${host} and nowhere else.`,
  whatOrganizerUnknown: (host: string) => `Whoever gave you this link runs it; the numbers go to ${host} and nowhere else.`,
  organizerHost: (host: string) => `whoever gave you this link; the coordinator is ${host}`,
  model: 'Model',
  corpus: 'It learns from',
  progress: 'Progress',
  roundOf: (round: string, rounds: string, phase: string | undefined) =>
    `round ${round} of ${rounds}${phase === undefined ? '' : `, ${phase}`}`,
  runPhases: { paused: 'paused', waiting: 'waiting', over: 'over' } satisfies Record<RunPhase, string>,
  workers: 'Helpers at this moment',
  settings: 'Your terms',
  name: 'Your name, shown to the others (not needed)',
  anonymous: 'a volunteer',
  share: 'How much of this device',
  shareValue: (percent: string) => `${percent} %`,
  cap: 'Stop after so much traffic',
  capNone: 'no limit',
  pauseOnBattery: 'Pause while it runs on battery',
  pauseWhenHidden: 'Pause while this tab is hidden',
  keepAwake: 'Keep the screen on while it computes',
  start: 'Start helping',
  pause: 'Pause',
  resume: 'Go on',
  leave: 'Leave',
  again: 'Try again',
  phase: {
    idle: 'Not started.',
    connecting: 'Connecting…',
    preparing: 'Choosing the fastest way to compute, and fetching the model…',
    ready: 'Ready. Waiting for work.',
    computing: 'Computing.',
    runPaused: 'Whoever runs it has paused the run. It goes on here by itself.',
    reconnecting: (seconds: string) => `The connection broke. Trying again in ${seconds} s; nothing is lost.`,
  },
  over: {
    completed: 'The run is complete: every round is computed. Thank you!',
    stopped: 'The run is over: whoever runs it has stopped it. Thank you! Should it go on, you can start again here.',
    diverged: 'The run is over: its numbers grew beyond all bounds, and it will have to be started anew. Thank you!',
    dismissed: 'The coordinator has ended your part in the run. Thank you!',
  } satisfies Record<NonNullable<StopCode>, string>,
  paused: {
    person: 'Paused. What was under way went back to the run.',
    cap: 'Paused: the traffic limit is reached. Raise it to go on.',
    battery: 'Paused while on battery. It goes on when the charger is back.',
    hidden: 'Paused while this tab is hidden.',
  } satisfies Record<PauseReason, string>,
  closing: 'You may close this page at any moment; nothing is lost.',
  heat: (percent: string) =>
    `This device has become slower: it is warm, or busy with something else. Your share is lowered to ${percent} % for now.`,
  blocked:
    'The page can be reached, but WebSocket connections cannot. A proxy, a firewall or an extension of the browser may block them: try another network, or allow them for this page.',
  statSpeed: 'Speed',
  statRound: 'Round',
  statSession: 'Computed now',
  statTraffic: 'Sent / received',
  statCredit: 'Your credit on this device',
  charsPerSecond: (n: string) => `${n} characters/s`,
  creditOf: (name: string, characters: string, rounds: string) => `${name}: ${characters} characters in ${rounds} rounds`,
  forgetCredit: 'Forget it',
  engine: 'Computes with',
  engines: {
    webgpu: 'the graphics chip (WebGPU)',
    'wasm-threads': 'several processor cores (WebAssembly)',
    wasm: 'one processor core (WebAssembly)',
  } satisfies Record<EngineKind, string>,
  trial: (engine: string, speed: string) => `${engine}: ${speed} in a short trial`,
  trialFailed: (engine: string) => `${engine}: not usable here`,
  insecure:
    'This page came without https: browsers then give it one processor core and no graphics chip. Whoever runs it can change that.',
  sample: 'What the model writes now',
  sampleAt: (round: string) => `after round ${round}`,
  sampleNone: 'The model has not written anything yet.',
  curve: 'How well it predicts the next character',
  curveHint: 'Mean loss in nats per character by round; lower is better. Dashed: of text it does not learn from.',
  curveSummary: (first: string, last: string, round: string) =>
    `From ${first} down to ${last} nats per character at round ${round}.`,
  curveNone: 'Nothing to draw yet.',
  failures: {
    no_token: {
      title: 'The link is incomplete',
      what: 'It should end in #token=… Ask whoever sent it for the whole link.',
    },
    no_wasm: {
      title: 'This browser is too old',
      what: 'It lacks WebAssembly with SIMD. Use Chrome or Edge 91, Firefox 114, Safari 16.4 or later.',
    },
    no_workers: {
      title: 'This browser is too old',
      what: 'It cannot start Web Workers or WebSockets. Use a current Chrome, Edge, Firefox or Safari.',
    },
    wrong_token: {
      title: 'The link does not fit this run',
      what: 'Its token is not the one this run expects: the run may have been started anew. Ask for a new link.',
    },
    run_full: { title: 'The run has all the helpers it can take', what: 'Thank you! Try again later.' },
    run_over: { title: 'The run is over', what: 'Thank you! There is nothing left to compute here.' },
    version_mismatch: { title: 'This page is out of date', what: 'Reload it. If that does not help, tell whoever runs this.' },
    layout_mismatch: { title: 'This page is out of date', what: 'Reload it. If that does not help, tell whoever runs this.' },
    engine_out_of_memory: {
      title: 'The model is too large for this device',
      what: 'Close other tabs and try again, or use a device with more memory.',
    },
    engine_unsupported: {
      title: 'This browser cannot compute this model',
      what: 'Use a current Chrome, Edge, Firefox or Safari, or another device.',
    },
  } as Readonly<Record<string, Explained>>,
  failureOther: { title: 'Something went wrong', what: 'Try again; if it happens again, tell whoever runs this.' } as Explained,
};

export type Texts = typeof EN;

const ZH: Texts = {
  documentTitle: '把这个浏览器借给一次训练',
  language: '语言',
  lead: '许多机器正在一起训练一个小型文本模型，这个浏览器也可以出一份力。',
  titleNamed: (run) => `一起训练“${run}”`,
  title: '一起训练一个文本模型',
  whatTitle: '开始之后会发生什么',
  whatComputes: '本页面用您设备的处理器或显卡计算：收到的是文本片段，送回的是数字。不安装任何东西，也不读取您的任何文件。',
  whatPower: '它会耗电，大约相当于在浏览器里玩游戏。您可以在下面决定让它用多少。',
  whatStop: '随时可以暂停、退出或关闭页面：正在进行的部分会由别人接手，什么都不会丢。',
  whatTraffic: (round, hour) => (hour === undefined ? `它会消耗流量：每轮约 ${round}。` : `它会消耗流量：目前每小时约 ${hour}。`),
  whatTrafficUnknown: '它会消耗流量：每一轮都要交换参数和梯度。运行时会显示用量。',
  organizer: '组织者',
  whatOrganizer: (organizer, host) => `组织者是 ${organizer}；数字只送往 ${host}。`,
  whatOrganizerUnknown: (host) => `组织者是给您这个链接的人；数字只送往 ${host}。`,
  organizerHost: (host) => `给您这个链接的人；协调器位于 ${host}`,
  model: '模型',
  corpus: '学习材料',
  progress: '进度',
  roundOf: (round, rounds, phase) => `第 ${round} 轮，共 ${rounds} 轮${phase === undefined ? '' : `，${phase}`}`,
  runPhases: { paused: '已暂停', waiting: '等待中', over: '已结束' },
  workers: '此刻的帮手',
  settings: '您的条件',
  name: '您的名字，会显示给其他人（可不填）',
  anonymous: '一位志愿者',
  share: '最多用这台设备的',
  shareValue: (percent) => `${percent}%`,
  cap: '流量用到多少就停',
  capNone: '不限',
  pauseOnBattery: '用电池时暂停',
  pauseWhenHidden: '标签页隐藏时暂停',
  keepAwake: '计算时保持屏幕常亮',
  start: '开始帮忙',
  pause: '暂停',
  resume: '继续',
  leave: '退出',
  again: '再试一次',
  phase: {
    idle: '尚未开始。',
    connecting: '正在连接……',
    preparing: '正在选出最快的计算方式并下载模型……',
    ready: '准备好了，等待任务。',
    computing: '正在计算。',
    runPaused: '组织者暂停了训练，恢复后这里会自动继续。',
    reconnecting: (seconds) => `连接断开，${seconds} 秒后重试；什么都没有丢。`,
  },
  over: {
    completed: '训练完成：所有轮次都已算完，谢谢！',
    stopped: '训练结束了：组织者停止了它，谢谢！如果继续训练，可以在这里重新开始。',
    diverged: '训练结束了：数值发散，需要重新开始，谢谢！',
    dismissed: '协调器结束了您的参与，谢谢！',
  },
  paused: {
    person: '已暂停。进行中的任务已交还。',
    cap: '已暂停：流量到了上限。提高上限即可继续。',
    battery: '用电池时暂停，接上电源后自动继续。',
    hidden: '标签页隐藏时暂停。',
  },
  closing: '随时可以关闭本页面，什么都不会丢。',
  heat: (percent) => `设备变慢了：可能发热，或在忙别的事。用量暂时降到 ${percent}%。`,
  blocked: '网页可以打开，但 WebSocket 连接不通。可能被代理、防火墙或浏览器扩展拦截：换个网络，或为本页面放行。',
  statSpeed: '速度',
  statRound: '轮次',
  statSession: '本次已计算',
  statTraffic: '发送 / 接收',
  statCredit: '您在这台设备上的贡献',
  charsPerSecond: (n) => `${n} 字符/秒`,
  creditOf: (name, characters, rounds) => `${name}：${characters} 个字符，${rounds} 轮`,
  forgetCredit: '清除',
  engine: '计算方式',
  engines: { webgpu: '显卡（WebGPU）', 'wasm-threads': '多个处理器核心（WebAssembly）', wasm: '一个处理器核心（WebAssembly）' },
  trial: (engine, speed) => `${engine}：短测 ${speed}`,
  trialFailed: (engine) => `${engine}：这里不可用`,
  insecure: '本页面没有经过 https：浏览器只给它一个处理器核心，不给显卡。组织者可以改变这一点。',
  sample: '模型现在写的是',
  sampleAt: (round) => `第 ${round} 轮之后`,
  sampleNone: '模型还没有写出任何东西。',
  curve: '它预测下一个字符的本领',
  curveHint: '各轮每个字符的平均损失（奈特），越低越好。虚线：它没有学过的文本。',
  curveSummary: (first, last, round) => `从每字符 ${first} 奈特降到第 ${round} 轮的 ${last} 奈特。`,
  curveNone: '还没有可画的。',
  failures: {
    no_token: { title: '链接不完整', what: '链接应以 #token=… 结尾。请向发送者索取完整链接。' },
    no_wasm: {
      title: '浏览器太旧',
      what: '它没有带 SIMD 的 WebAssembly。请用 Chrome 或 Edge 91、Firefox 114、Safari 16.4 或更新的版本。',
    },
    no_workers: { title: '浏览器太旧', what: '它不支持 Web Worker 或 WebSocket。请用最新的 Chrome、Edge、Firefox 或 Safari。' },
    wrong_token: { title: '链接与这次训练不符', what: '令牌不对：训练可能已重新开始。请索取新的链接。' },
    run_full: { title: '帮手已满', what: '谢谢！请稍后再试。' },
    run_over: { title: '训练结束了', what: '谢谢！这里已经没有要计算的了。' },
    version_mismatch: { title: '页面已过时', what: '请刷新页面。若仍不行，请告知组织者。' },
    layout_mismatch: { title: '页面已过时', what: '请刷新页面。若仍不行，请告知组织者。' },
    engine_out_of_memory: { title: '模型对这台设备来说太大', what: '关闭其他标签页再试，或换一台内存更大的设备。' },
    engine_unsupported: {
      title: '这个浏览器无法计算这个模型',
      what: '请用最新的 Chrome、Edge、Firefox 或 Safari，或换一台设备。',
    },
  },
  failureOther: { title: '出了点问题', what: '请再试一次；若再次发生，请告知组织者。' },
};

export const TEXTS: Readonly<Record<Language, Texts>> = { en: EN, zh: ZH };

/** `preferred`: languages as navigator.languages lists them, best first. */
export function chooseLanguage(chosen: string | null, preferred: readonly string[]): Language {
  if (chosen === 'en' || chosen === 'zh') return chosen;
  for (const tag of preferred) {
    if (/^zh\b/i.test(tag)) return 'zh';
    if (/^en\b/i.test(tag)) return 'en';
  }
  return 'en';
}
