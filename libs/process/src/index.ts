export { runApp, type AppProcess, type AppShell } from './app.js';
export { EXIT, isLastingExit } from './exit-codes.js';
export { parseOptions, positionalsOf, UsageError, type Parsed } from './options.js';
export { isReaderGone, LiveOutput, missingLines, outputProblem, type OutputOptions, type OutputStream } from './output.js';
export { endsOnHangup, stopRequest, stopSignals, type ProcessSignals, type StopSignal } from './signals.js';
export { systemProblem } from './system-errors.js';
export { isLoopback, joinTarget, type JoinTarget } from './address.js';
export { figuresOf, machineMemory, memoryForThisProcess, type MachineMemory, type ReadText } from './memory.js';
