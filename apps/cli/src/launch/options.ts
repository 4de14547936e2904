/** The flags of `troupe launch`. */
import type { AppOption } from '@troupe/config';
import { ENGINE_OPTION, THREADS_OPTION } from '@troupe/engines/options';
import { MAX_SLOTS } from './hosts.js';
import { MAX_TASKS } from './slurm.js';

const { default: _one, ...threads } = THREADS_OPTION;

export const LAUNCH_OPTIONS = [
  {
    flag: '--hosts',
    type: 'text',
    placeholder: 'FILE',
    group: 'Hosts',
    help: 'file with one host a line, by the name that you give to ssh, and how many workers it gets',
  },
  { flag: '--init', type: 'switch', group: 'Hosts', help: 'write an example of that file, by default hosts.txt, and end' },
  {
    flag: '--local',
    type: 'whole',
    placeholder: 'N',
    group: 'Hosts',
    min: 1,
    max: MAX_SLOTS,
    help: 'workers on this machine, with or without other hosts',
  },
  {
    flag: '--slurm',
    type: 'switch',
    group: 'Slurm',
    help: 'workers in a job that this command submits to Slurm, with or without other hosts',
  },
  {
    flag: '--tasks',
    type: 'whole',
    placeholder: 'N',
    group: 'Slurm',
    min: 1,
    max: MAX_TASKS,
    help: 'workers of the job, each in a task of an array (default: 1); --threads sets the cores of each',
  },
  {
    flag: '--slurm-args',
    type: 'text',
    placeholder: "'ARGS'",
    group: 'Slurm',
    help: 'more options for sbatch, such as "--partition=lab --time=8:00:00 --gres=gpu:1"',
  },
  {
    flag: '--slurm-dir',
    type: 'text',
    placeholder: 'DIR',
    group: 'Slurm',
    help: 'folder that all nodes see, for the release and what the tasks write (default: ~/.cache/troupe)',
  },
  { ...ENGINE_OPTION, help: `${ENGINE_OPTION.help}; for hosts that name none` },
  {
    ...threads,
    help: 'threads of each worker, for hosts that do not say (default: the cores of the host, divided among its workers)',
  },
  {
    flag: '--ssh',
    type: 'text',
    placeholder: 'PROGRAM',
    group: 'ssh',
    default: 'ssh',
    help: 'the ssh program; it reads your ~/.ssh/config and uses your agent',
  },
  { flag: '--ssh-config', type: 'text', placeholder: 'FILE', group: 'ssh', help: 'settings of ssh in place of ~/.ssh/config' },
  {
    flag: '--release',
    type: 'text',
    placeholder: 'FILE',
    group: 'Hosts',
    help: 'tarball of the release to install on the hosts, such as troupe-0.1.0.tgz (default: this copy of Troupe)',
  },
  {
    flag: '--with-node',
    type: 'switch',
    group: 'Hosts',
    help: 'bring Node to hosts that lack it: the Node that runs this command, if they are of the same kind',
  },
  {
    flag: '--node-from',
    type: 'text',
    placeholder: 'PATH',
    group: 'Hosts',
    help: 'with --with-node: tarball of Node from nodejs.org, or a folder of them, for hosts of other kinds',
  },
  {
    flag: '--logs',
    type: 'text',
    placeholder: 'DIR',
    group: 'Output',
    help: 'folder for the logs of the workers (default: the folder hosts of the run, if its coordinator runs in this folder, else runs/hosts)',
  },
  {
    flag: '--json',
    type: 'switch',
    group: 'Output',
    help: 'print every event of the launch as one line of JSON, and nothing else',
  },
] as const satisfies readonly AppOption[];
