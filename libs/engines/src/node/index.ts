export { loadWasm } from './cpu.js';
export { openEngine, type OpenOptions } from './open.js';
export { probeEngines, type EngineReport, type ProbeOptions } from './probe.js';
