/** The run doctor: one line that says what is wrong, and a button for each thing that can be done about it. */
import { localRoundsFlags, type Finding } from '@troupe/run';
import { diagnose, type Diagnosis, type Treatment } from '../reading/doctor.js';
import { isAdmin } from '../state/state.js';
import { busy } from './busy.js';
import { setClass, setText, the } from './dom.js';
import { attempt, changed, type Page, type Panel } from './page.js';

export function createDoctor(page: Page): Panel {
  let treatments: readonly Treatment[] = [];
  const buttons = ['doctor-do', 'doctor-also'].map((id) => the(id, HTMLButtonElement));
  buttons.forEach((button, i) => {
    // A second click must not give a second order.
    button.addEventListener('click', () => void busy(button, async () => treatments[i] && treat(page, treatments[i])));
  });
  return (state, before) => {
    if (!state.view || !changed(state, before, 'view', 'points', 'evaluations')) return;
    const diagnosis = diagnose(state);
    treatments = state.link.at === 'live' ? diagnosis.treatments : [];
    const { kind } = diagnosis.finding;
    setClass(the('doctor'), `doctor ${kind === 'none' ? 'well' : kind}`);
    setText(the('doctor-what'), findingText(page, diagnosis));
    buttons.forEach((button, i) => {
      const treatment = treatments[i];
      button.hidden = treatment === undefined;
      if (treatment) setText(button, treatmentText(page, treatment));
    });
  };
}

function findingText(page: Page, { finding, treatments }: Diagnosis): string {
  const { texts, format, state } = page;
  const { doctor } = texts;
  switch (finding.kind) {
    case 'none':
      return doctor.none;
    case 'diverged': {
      const from =
        finding.checkpoint === undefined ? doctor.lastCheckpoint : doctor.checkpointOf(format.whole(finding.checkpoint));
      const say = treatments.length > 0 ? doctor.divergedBack : doctor.diverged;
      return say(from, String(finding.rate));
    }
    case 'aboveChance':
      return doctor.aboveChance(format.loss(finding.loss), format.loss(finding.chance));
    case 'noWorker':
      return doctor.noWorker;
    case 'overfitting': {
      const then = state.view!.phase === 'over' || !isAdmin(state) ? doctor.bestIsSaved : doctor.stopNow;
      return doctor.overfitting(format.whole(finding.round), format.loss(finding.best), format.loss(finding.now), then);
    }
    case 'network':
      return networkText(page, finding);
    default:
      return finding satisfies never;
  }
}

function networkText({ texts, format }: Page, { fraction, local }: Extract<Finding, { kind: 'network' }>): string {
  const percent = format.percent(fraction);
  if (!local) return texts.doctor.network(percent);
  return texts.doctor.networkLocal(percent, localRoundsFlags(local.steps, local.tracks), format.percent(local.busy));
}

function treatmentText({ texts, format }: Page, treatment: Treatment): string {
  if (treatment.action === 'back') return texts.doctor.back(format.whole(treatment.round), String(treatment.learningRate));
  if (treatment.action === 'set') return texts.doctor.halve(String(treatment.learningRate));
  return treatment.action === 'invite' ? texts.copy : texts.stop;
}

async function treat(page: Page, treatment: Treatment): Promise<void> {
  // The same buttons as elsewhere: they ask before they stop, and say what was copied.
  if (treatment.action === 'invite') return the('copy').click();
  if (treatment.action === 'stop') return the('stop').click();
  await attempt(page, async () => (await page.api.control(treatment)).text);
}
