/** The style sheet of a report. Its greys are translucent, so that they suit light and dark. */
export const REPORT_STYLE = `
:root { color-scheme: light dark; }
* { box-sizing: border-box; }
body { margin: 0; background: Canvas; color: CanvasText; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { margin: 1rem 0 0; font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 2rem 0 0.5rem; font-size: 1.15rem; }
h3 { margin: 1rem 0 0.25rem; font-size: 0.95rem; }
p { margin: 0.25rem 0; }
.quiet, footer, figcaption { opacity: 0.8; font-size: 0.875rem; }
.quiet { overflow-wrap: anywhere; }
.state { font-weight: 600; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 0.75rem; margin: 1rem 0; }
.figures > div { padding: 0.6rem 0.75rem; border-radius: 0.5rem; background: #8882; }
dt { opacity: 0.8; font-size: 0.875rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; }
dt + dd { font-size: 1.2rem; font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; }
figure svg { display: block; width: 100%; height: auto; }
pre { margin: 0; padding: 0.75rem; border-radius: 0.5rem; background: #8882; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 0.875rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.875rem; }
th, td { padding: 0.3rem 1rem 0.3rem 0; border-bottom: 1px solid #8886; text-align: left; vertical-align: top; white-space: nowrap; }
th { font-weight: 600; }
.text td:last-child { white-space: normal; min-width: 16rem; }
section + section { margin-top: 3rem; border-top: 2px solid #8886; }
footer { margin: 2rem 0 1rem; }
`;
