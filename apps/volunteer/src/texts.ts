/** All texts of the page, in all its languages. */
import type { EngineKind } from './messages.js';
import type { DirectObstacle } from './decisions/direct.js';
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
  lead: 'Many machines are training a small text model together. This browser can be one of them.',
  titleNamed: (run: string) => `Help train “${run}”`,
  title: 'Help train a text model',
  titleFinishedNamed: (run: string) => `“${run}” is finished`,
  titleFinished: 'This run is finished',
  whatTitle: 'What happens when you start',
  whatComputes:
    "This page computes on your device's CPU or GPU: it receives pieces of text and sends numbers back. It installs nothing and reads none of your files.",
  whatPower: 'It uses power, about as much as a browser game. You choose below how much of the device it may use.',
  whatStop: 'You can pause, leave or close the page at any time: others take over your unfinished work, and nothing is lost.',
  whatTraffic: (round: string, hour: string | undefined) =>
    hour === undefined ? `It uses data: about ${round} a round.` : `It uses data: about ${hour} an hour at the current speed.`,
  whatTrafficUnknown:
    'It uses data: parameters and gradients are exchanged every round. The page shows the amount while it computes.',
  organizer: 'Organizer',
  whatOrganizer: (organizer: string) => `The organizer of this run is ${organizer}. `,
  whatOrganizerUnknown: 'The organizer of this run is the person who gave you the link. ',
  whatGoes: (host: string) => `The numbers go to ${host} and nowhere else.`,
  whatGoesDirect: (host: string) => `The numbers go to ${host} and, over direct links, to other machines of the run.`,
  organizerHost: (host: string) => `the person who gave you the link; the coordinator is ${host}`,
  model: 'Model',
  corpus: 'Corpus',
  progress: 'Progress',
  roundOf: (round: string, rounds: string, phase: string | undefined) =>
    `round ${round} of ${rounds}${phase === undefined ? '' : `, ${phase}`}`,
  runPhases: { paused: 'paused', waiting: 'waiting', over: 'over' } satisfies Record<RunPhase, string>,
  workers: 'Workers',
  settings: 'Your settings',
  name: 'Your name (optional, shown to others)',
  anonymous: 'Anonymous volunteer',
  share: 'Share of this device',
  shareValue: (percent: string) => `${percent}%`,
  cap: 'Data limit',
  capNone: 'no limit',
  pauseOnBattery: 'Pause on battery power',
  pauseWhenHidden: 'Pause while this tab is hidden',
  keepAwake: 'Keep the screen on while computing',
  directLinks: 'Direct links to other machines of the run',
  directHint:
    "Gradients then take a shorter path. The other machines see this device's network address. If they choose this device to add up their gradients, it uploads more data.",
  start: 'Start helping',
  pause: 'Pause',
  resume: 'Resume',
  leave: 'Leave',
  again: 'Try again',
  phase: {
    idle: 'Not started.',
    connecting: 'Connecting…',
    preparing: 'Choosing the fastest engine and downloading the model…',
    ready: 'Ready. Waiting for work.',
    computing: 'Computing.',
    parked: 'On standby: other computers are fast enough at present. Work resumes automatically when yours is needed.',
    runPaused: 'The organizer has paused the run. Your work resumes automatically.',
    reconnecting: (seconds: string) => `The connection broke. Next attempt in ${seconds} s; nothing is lost.`,
  },
  over: {
    completed: 'The run is complete: all rounds are computed. Thank you!',
    stopped: 'The run is over: the organizer stopped it. Thank you! If it is resumed, you can start again here.',
    diverged: 'The run is over: training became unstable; the organizer must restart it. Thank you!',
    dismissed: 'The coordinator has ended your session. Thank you!',
  } satisfies Record<NonNullable<StopCode>, string>,
  computedShare: (percent: string) => `This device computed about ${percent} of it.`,
  paused: {
    person: 'Paused. Your unfinished work was handed to others.',
    cap: 'Paused: the data limit is reached. Raise it to resume.',
    battery: 'Paused on battery power. Your work resumes when the device is charging.',
    hidden: 'Paused while this tab is hidden.',
  } satisfies Record<PauseReason, string>,
  closing: 'You can close this page at any time; nothing is lost.',
  heat: (percent: string) =>
    `This device has become slower: it is hot, or busy with something else. Your share is lowered to ${percent}% for now.`,
  blocked:
    'This page loads, but WebSocket connections fail. A proxy, a firewall or a browser extension may block them: try another network, or allow them for this page.',
  directLinked: (count: number, machines: string) =>
    `Linked directly to ${machines} ${count === 1 ? 'machine' : 'machines'} of the run.`,
  direct: {
    none: 'No direct links yet: they open when machines of the run add up gradients for the others.',
    blocked:
      'A network blocks direct links, yours or that of the others; gradients go through the coordinator, and nothing is lost.',
    unanswered: 'Other machines do not answer over direct links; gradients go through the coordinator, and nothing is lost.',
    unusable: 'Direct links do not work in this browser; gradients go through the coordinator, and nothing is lost.',
  } satisfies Record<DirectObstacle, string>,
  statSpeed: 'Speed',
  statRound: 'Round',
  statSession: 'Characters this session',
  statTraffic: 'Data sent / received',
  statCredit: 'Your credit on this device',
  charsPerSecond: (n: string) => `${n} characters/s`,
  creditOf: (name: string, characters: string, rounds: string) => `${name}, ${characters} characters in ${rounds} rounds`,
  forgetCredit: 'Reset credit',
  engine: 'Engine:',
  engines: {
    webgpu: 'GPU (WebGPU)',
    'wasm-threads': 'several CPU cores (WebAssembly)',
    wasm: 'one CPU core (WebAssembly)',
  } satisfies Record<EngineKind, string>,
  trial: (engine: string, speed: string) => `${engine}: ${speed} in a short trial`,
  trialFailed: (engine: string) => `${engine}: not available here`,
  insecure: 'This page came without HTTPS, so the browser gives it one CPU core and no GPU. The organizer can change that.',
  sample: 'Latest sample',
  sampleAt: (round: string) => `after round ${round}`,
  sampleNone: 'No sample yet.',
  curve: 'Loss',
  curveHint:
    'How badly the model predicts the next character, in nats per character; lower is better. Dashed: loss on held-out text. Dotted: guessing at random.',
  curveSummary: (first: string, last: string, round: string) =>
    `From ${first} down to ${last} nats per character at round ${round}.`,
  curveNone: 'No data yet.',
  failures: {
    no_token: {
      title: 'The link is incomplete',
      what: 'It must end in #token=… Ask the organizer for the whole link.',
    },
    no_wasm: {
      title: 'This browser is too old',
      what: 'It lacks WebAssembly with SIMD. Use Chrome or Edge 91, Firefox 114, Safari 16.4 or later.',
    },
    no_workers: {
      title: 'This browser is too old',
      what: 'It lacks Web Workers or WebSockets. Use a current Chrome, Edge, Firefox or Safari.',
    },
    wrong_token: {
      title: 'This link has expired',
      what: 'The organizer may have started a new run. Ask for a new link.',
    },
    token_expired: { title: 'This link has expired', what: 'Ask the organizer for a new link.' },
    token_revoked: { title: 'This link is no longer valid', what: 'The organizer has withdrawn it. Ask for a new link.' },
    wrong_scope: { title: 'This link is not for volunteers', what: 'Ask the organizer for the link for volunteers.' },
    run_full: { title: 'The run is full', what: 'It has as many workers as it can take. Try again later.' },
    run_over: { title: 'The run is over', what: 'There is nothing left to compute. Thank you!' },
    version_mismatch: { title: 'This page is out of date', what: 'Reload it. If that does not help, tell the organizer.' },
    layout_mismatch: { title: 'This page is out of date', what: 'Reload it. If that does not help, tell the organizer.' },
    engine_out_of_memory: {
      title: 'The model is too large for this device',
      what: 'Close other tabs and try again, or use a device with more memory.',
    },
    engine_unsupported: {
      title: 'This browser cannot compute this model',
      what: 'Use a current Chrome, Edge, Firefox or Safari, or another device.',
    },
  } as Readonly<Record<string, Explained>>,
  failureOther: { title: 'Something went wrong', what: 'Try again. If it happens again, tell the organizer.' } as Explained,
};

export type Texts = typeof EN;

const ZH: Texts = {
  documentTitle: '用这个浏览器参与训练',
  language: '语言',
  lead: '许多机器正在一起训练一个小型文本模型，这个浏览器也可以加入。',
  titleNamed: (run) => `参与训练“${run}”`,
  title: '参与训练一个文本模型',
  titleFinishedNamed: (run) => `“${run}”已完成训练`,
  titleFinished: '训练已完成',
  whatTitle: '开始之后会发生什么',
  whatComputes: '本页面使用您设备的 CPU 或 GPU 进行计算：接收文本片段，送回数字。它不安装任何东西，也不读取您的任何文件。',
  whatPower: '它会耗电，大约相当于在浏览器里玩游戏。您可以在下面设置它最多占用多少设备性能。',
  whatStop: '您可以随时暂停、退出或关闭页面：其他人会接手您未完成的任务，不会有任何损失。',
  whatTraffic: (round, hour) =>
    hour === undefined ? `它会消耗流量：每轮约 ${round}。` : `它会消耗流量：按目前速度每小时约 ${hour}。`,
  whatTrafficUnknown: '它会消耗流量：每一轮都要交换参数和梯度。计算时页面会显示用量。',
  organizer: '组织者',
  whatOrganizer: (organizer) => `本次训练的组织者是 ${organizer}。`,
  whatOrganizerUnknown: '本次训练的组织者是给您链接的人。',
  whatGoes: (host) => `数据只发往 ${host}。`,
  whatGoesDirect: (host) => `数据发往 ${host}，并通过直连发往参与本次训练的其他机器。`,
  organizerHost: (host) => `给您链接的人；协调器位于 ${host}`,
  model: '模型',
  corpus: '语料',
  progress: '进度',
  roundOf: (round, rounds, phase) => `第 ${round} 轮，共 ${rounds} 轮${phase === undefined ? '' : `，${phase}`}`,
  runPhases: { paused: '已暂停', waiting: '等待中', over: '已结束' },
  workers: '工作节点',
  settings: '您的设置',
  name: '您的名字（可不填，会显示给其他人）',
  anonymous: '匿名志愿者',
  share: '设备占用比例',
  shareValue: (percent) => `${percent}%`,
  cap: '流量上限',
  capNone: '不限',
  pauseOnBattery: '使用电池时暂停',
  pauseWhenHidden: '标签页隐藏时暂停',
  keepAwake: '计算时保持屏幕常亮',
  directLinks: '与参与训练的其他机器直连',
  directHint: '梯度可以少绕路。其他机器会看到这台设备的网络地址。如果它们选择由这台设备累加梯度，这台设备会上传更多数据。',
  start: '开始参与',
  pause: '暂停',
  resume: '继续',
  leave: '退出',
  again: '重试',
  phase: {
    idle: '尚未开始。',
    connecting: '正在连接……',
    preparing: '正在选择最快的引擎并下载模型……',
    ready: '就绪，等待任务。',
    computing: '正在计算。',
    parked: '待命中：目前其他计算机已经足够快。需要您的计算机时会自动继续。',
    runPaused: '组织者暂停了训练。训练恢复后，这里会自动继续。',
    reconnecting: (seconds) => `连接已断开，${seconds} 秒后重试；不会有任何损失。`,
  },
  over: {
    completed: '训练完成：所有轮次都已算完。谢谢！',
    stopped: '训练已结束：组织者停止了训练。谢谢！如果训练恢复，您可以在这里重新开始。',
    diverged: '训练已结束：训练变得不稳定，组织者需要重新开始。谢谢！',
    dismissed: '协调器结束了您的会话。谢谢！',
  },
  computedShare: (percent) => `其中约 ${percent} 由这台设备计算。`,
  paused: {
    person: '已暂停。您未完成的任务已交给其他人。',
    cap: '已暂停：已达到流量上限。提高上限即可继续。',
    battery: '已暂停：设备正在使用电池。接通电源后会自动继续。',
    hidden: '已暂停：标签页已隐藏。',
  },
  closing: '您可以随时关闭本页面，不会有任何损失。',
  heat: (percent) => `设备变慢了：它可能发热，或正忙于其他任务。占用比例暂时降到 ${percent}%。`,
  blocked: '页面可以打开，但 WebSocket 连接失败。可能是代理、防火墙或浏览器扩展拦截了连接：请换一个网络，或为本页面放行。',
  directLinked: (_count, machines) => `已与本次训练的 ${machines} 台机器直连。`,
  direct: {
    none: '还没有直连：当训练中有机器为其他机器累加梯度时，才会建立直连。',
    blocked: '网络阻止了直连（您的网络或对方的网络）；梯度经由协调器传输，不会有任何损失。',
    unanswered: '其他机器没有响应直连；梯度经由协调器传输，不会有任何损失。',
    unusable: '直连在这个浏览器中无法使用；梯度经由协调器传输，不会有任何损失。',
  },
  statSpeed: '速度',
  statRound: '轮次',
  statSession: '本次会话的字符数',
  statTraffic: '发送 / 接收流量',
  statCredit: '您在这台设备上的贡献',
  charsPerSecond: (n) => `${n} 字符/秒`,
  creditOf: (name, characters, rounds) => `${name}，${characters} 个字符，${rounds} 轮`,
  forgetCredit: '清除贡献',
  engine: '引擎：',
  engines: { webgpu: 'GPU（WebGPU）', 'wasm-threads': '多个 CPU 核心（WebAssembly）', wasm: '一个 CPU 核心（WebAssembly）' },
  trial: (engine, speed) => `${engine}：短测 ${speed}`,
  trialFailed: (engine) => `${engine}：此处不可用`,
  insecure: '本页面没有使用 HTTPS，浏览器因此只提供一个 CPU 核心，不提供 GPU。组织者可以改变这一点。',
  sample: '最新样本',
  sampleAt: (round) => `第 ${round} 轮之后`,
  sampleNone: '暂无样本。',
  curve: '损失',
  curveHint: '模型预测下一个字符的误差，单位为奈特/字符，越低越好。虚线：未用于训练的文本上的损失。点线：随机猜测。',
  curveSummary: (first, last, round) => `从 ${first} 降到第 ${round} 轮的 ${last} 奈特/字符。`,
  curveNone: '暂无数据。',
  failures: {
    no_token: { title: '链接不完整', what: '链接应以 #token=… 结尾。请向组织者索取完整链接。' },
    no_wasm: {
      title: '浏览器版本太旧',
      what: '它不支持带 SIMD 的 WebAssembly。请使用 Chrome 或 Edge 91、Firefox 114、Safari 16.4 或更新的版本。',
    },
    no_workers: {
      title: '浏览器版本太旧',
      what: '它不支持 Web Worker 或 WebSocket。请使用最新的 Chrome、Edge、Firefox 或 Safari。',
    },
    wrong_token: { title: '链接已失效', what: '组织者可能已开始新的训练。请索取新的链接。' },
    token_expired: { title: '链接已过期', what: '请向组织者索取新的链接。' },
    token_revoked: { title: '链接已被撤销', what: '组织者已撤销此链接。请索取新的链接。' },
    wrong_scope: { title: '此链接不是志愿者链接', what: '请向组织者索取志愿者链接。' },
    run_full: { title: '训练人数已满', what: '工作节点数已达上限。请稍后再试。' },
    run_over: { title: '训练已结束', what: '已经没有需要计算的任务了。谢谢！' },
    version_mismatch: { title: '页面已过时', what: '请刷新页面。如果仍有问题，请告知组织者。' },
    layout_mismatch: { title: '页面已过时', what: '请刷新页面。如果仍有问题，请告知组织者。' },
    engine_out_of_memory: { title: '模型对这台设备来说太大', what: '请关闭其他标签页后重试，或换一台内存更大的设备。' },
    engine_unsupported: {
      title: '这个浏览器无法计算这个模型',
      what: '请使用最新的 Chrome、Edge、Firefox 或 Safari，或换一台设备。',
    },
  },
  failureOther: { title: '出了点问题', what: '请重试。如果再次发生，请告知组织者。' },
};

export const TEXTS: Readonly<Record<Language, Texts>> = { en: EN, zh: ZH };

/** @param preferred as navigator.languages lists them, best first */
export function chooseLanguage(chosen: string | null, preferred: readonly string[]): Language {
  if (chosen === 'en' || chosen === 'zh') return chosen;
  for (const tag of preferred) {
    if (/^zh\b/i.test(tag)) return 'zh';
    if (/^en\b/i.test(tag)) return 'en';
  }
  return 'en';
}
