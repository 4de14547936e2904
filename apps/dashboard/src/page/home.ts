/** The model to take home: a download for each form. */
import type { ModelForm } from '@troupe/export';
import { busy } from './busy.js';
import { make, saveFile, setText, the } from './dom.js';
import { attempt, type Page, type Panel } from './page.js';

export function createHome(page: Page): Panel {
  const list = the('home-forms');
  const rows = (Object.keys(page.texts.home.forms) as ModelForm[]).map((form) => {
    const button = make('button', { type: 'button', id: `home-${form}` });
    const what = make('span', { className: 'hint' });
    button.addEventListener('click', () => void busy(button, () => attempt(page, () => download(page, form))));
    list.append(make('li', {}, button, what));
    return { form, button, what };
  });
  return (_, before) => {
    if (before !== undefined) return;
    for (const { form, button, what } of rows) {
      const [name, explanation] = page.texts.home.forms[form];
      setText(button, name);
      setText(what, explanation);
    }
  };
}

async function download(page: Page, form: ModelForm): Promise<undefined> {
  page.announce(page.texts.home.making);
  const { blob, name } = await page.api.model(form);
  saveFile(blob, name);
  page.announce(name);
}
