/** The run doctor: one line that says what is wrong, and one button that does something about it. */
import type { Finding } from '@troupe/run';
import { diagnose, type Treatment } from '../reading/doctor.js';
import { isAdmin } from '../state/state.js';
import { setClass, setText, the } from './dom.js';
import { attempt, changed, type Page, type Panel } from './page.js';

export function createDoctor(page: Page): Panel {
  const button = the('doctor-do', HTMLButtonElement);
  let treatment: Treatment | undefined;
  button.addEventListener('click', () => {
    if (treatment) void treat(page, treatment);
  });
  return (state, before) => {
    if (!state.view || !changed(state, before, 'view', 'points', 'evaluations')) return;
    const diagnosis = diagnose(state);
    treatment = state.link.at === 'live' ? diagnosis.treatment : undefined;
    const { kind } = diagnosis.finding;
    setClass(the('doctor'), `doctor ${kind === 'none' ? 'well' : kind}`);
    setText(the('doctor-what'), findingText(page, diagnosis.finding));
    button.hidden = treatment === undefined;
    if (treatment) setText(button, treatmentText(page, treatment));
  };
}

function findingText({ texts, format, state }: Page, finding: Finding): string {
  const { doctor } = texts;
  switch (finding.kind) {
    case 'none':
      return doctor.none;
    case 'diverged': {
      const from =
        finding.checkpoint === undefined ? doctor.lastCheckpoint : doctor.checkpointOf(format.whole(finding.checkpoint));
      return doctor.diverged(from, String(finding.rate));
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
      return doctor.network(format.percent(finding.fraction));
    default:
      return finding satisfies never;
  }
}

function treatmentText({ texts }: Page, treatment: Treatment): string {
  if (treatment.action === 'set') return texts.doctor.halve(String(treatment.learningRate));
  return treatment.action === 'invite' ? texts.copy : texts.stop;
}

async function treat(page: Page, treatment: Treatment): Promise<void> {
  // The same buttons as elsewhere: they ask before they stop, and say what was copied.
  if (treatment.action === 'invite') return the('copy').click();
  if (treatment.action === 'stop') return the('stop').click();
  await attempt(page, async () => (await page.api.control(treatment)).text);
}
