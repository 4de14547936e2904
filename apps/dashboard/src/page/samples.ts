/** The model's samples by round, with a slider; and the playground, where it continues a person's text. */
import type { MAX_PLAY_CHARACTERS, MAX_PRIME_CHARACTERS, PlayMessage, PlayRequest } from '@troupe/run';
import { firstIndex } from '../state/columns.js';
import type { DashboardState } from '../state/state.js';
import { RequestFailed } from '../link/api.js';
import { setAttribute, setText, the } from './dom.js';
import { attempt, changed, type Page, type Panel } from './page.js';

/** Time between two samples while they play. */
const PLAY_MS = 700;

export function createSamples(page: Page): Panel {
  const slider = the('sample-slider', HTMLInputElement);
  const play = the('sample-play', HTMLButtonElement);
  /** Shows the latest sample until the slider is moved. */
  let following = true;
  let timer = 0;
  const stopPlaying = (): void => {
    clearInterval(timer);
    timer = 0;
    setText(play, page.texts.play);
  };
  slider.addEventListener('input', () => {
    stopPlaying();
    following = Number(slider.value) === page.state.samples.length - 1;
    draw(page.state);
  });
  the('sample-newest').addEventListener('click', () => {
    stopPlaying();
    following = true;
    draw(page.state);
  });
  play.addEventListener('click', () => {
    if (timer) return stopPlaying();
    const last = page.state.samples.length - 1;
    slider.value = Number(slider.value) >= last ? '0' : slider.value;
    following = false;
    setText(play, page.texts.stop);
    timer = setInterval(() => {
      if (Number(slider.value) >= page.state.samples.length - 1) return stopPlaying();
      slider.value = String(Number(slider.value) + 1);
      draw(page.state);
    }, PLAY_MS);
    draw(page.state);
  });

  return (state, before) => {
    if (!before) {
      setText(play, timer ? page.texts.stop : page.texts.play);
      setAttribute(the('sample'), 'aria-label', page.texts.sampleText);
    }
    if (changed(state, before, 'samples') || (before && before.points.round.length === 0)) draw(state);
  };

  function draw(state: DashboardState): void {
    const { samples } = state;
    the('sample-tools').hidden = samples.length < 2;
    const last = Math.max(0, samples.length - 1);
    setAttribute(slider, 'max', String(last));
    if (following) slider.value = String(last);
    const sample = samples[Math.min(Number(slider.value), last)];
    setText(the('sample'), sample ? sample.text : page.texts.samplesNone);
    const at = sample ? caption(page, state, sample.round) : '';
    setText(the('sample-at'), at);
    setAttribute(slider, 'aria-label', page.texts.samplesSlider);
    setAttribute(slider, 'aria-valuetext', at);
  }
}

function caption({ texts, format }: Page, { points }: DashboardState, round: number): string {
  const index = Math.min(firstIndex(points.round, round), points.round.length - 1);
  const loss = index < 0 || points.round[0] > round ? '' : format.loss(points.smoothedLoss[index]);
  return texts.sampleAt(format.whole(round), loss);
}

/** The coordinator's limits. Their types tie them to the originals; importing those would bundle a library with the page. */
const MAX_CHARACTERS: typeof MAX_PLAY_CHARACTERS = 2_000;
const MAX_PRIME: typeof MAX_PRIME_CHARACTERS = 1_000;

export function createPlayground(page: Page): Panel {
  const stopButton = the('stop-writing', HTMLButtonElement);
  const write = the('write', HTMLButtonElement);
  the('prime', HTMLTextAreaElement).maxLength = MAX_PRIME;
  the('length', HTMLInputElement).max = String(MAX_CHARACTERS);
  let stop: AbortController | undefined;
  stopButton.addEventListener('click', () => stop?.abort());
  the('play-form', HTMLFormElement).addEventListener('submit', (event) => {
    event.preventDefault();
    stop?.abort();
    const mine = (stop = new AbortController());
    void attempt(page, () => play(page, request(), mine.signal)).finally(() => {
      if (stop === mine) busy(false);
    });
    busy(true);
  });
  return (_, before) => {
    if (before) return;
    setAttribute(the('written'), 'aria-label', page.texts.writtenText);
    setAttribute(the('written'), 'data-empty', page.texts.writtenNone);
  };

  function busy(on: boolean): void {
    stopButton.disabled = !on;
    setAttribute(the('written'), 'aria-busy', String(on));
    write.disabled = on;
    if (!on) stop = undefined;
  }
}

function request(): PlayRequest {
  const number = (id: string): number => the(id, HTMLInputElement).valueAsNumber;
  const prime = the('prime', HTMLTextAreaElement).value;
  return {
    ...(prime && { prime }),
    ...(the('skip-unknown', HTMLInputElement).checked && { skipUnknown: true }),
    temperature: number('temperature') || 0,
    topK: number('top-k') || 0,
    length: number('length') || 1,
  };
}

async function play(page: Page, asked: PlayRequest, signal: AbortSignal): Promise<undefined> {
  const written = the('written');
  const prime = document.createElement('b');
  prime.textContent = asked.prime ?? '';
  written.replaceChildren(prime);
  const onMessage = (message: PlayMessage): void => {
    switch (message.type) {
      case 'start':
        return setText(the('written-at'), page.texts.writing(page.format.whole(message.round)));
      case 'text':
        return written.append(message.text);
      case 'end':
        return;
      case 'error':
        throw new RequestFailed(message);
      default:
        return message satisfies never;
    }
  };
  try {
    await page.api.play(asked, onMessage, signal);
  } catch (error) {
    // The person stopped it.
    if (!signal.aborted) throw error;
  }
}
