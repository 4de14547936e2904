import { CELL_SHAPES, LAYER_NORM_EPSILON, type Cell, type ModelConfig } from '@troupe/model';
import { introduction, textFile, vocabularyFile, type ExportedFile } from './folder.js';
import type { TrainedModel } from './web-model.js';

/**
 * A folder for PyTorch, which needs nothing else: model.py, written for this model, weights,
 * vocabulary, and a script that samples.
 * @param weights the blocks of a checkpoint with weights only, whose tensors are a PyTorch state dict
 */
export function pytorchFolder(model: TrainedModel, weights: readonly Uint8Array[]): readonly ExportedFile[] {
  return [
    textFile('model.py', modelScript(model.model)),
    textFile('sample.py', SAMPLE),
    textFile('README.md', introduction(model) + README),
    vocabularyFile(model),
    { name: 'weights.safetensors', bytes: weights },
  ];
}

const README = `
    python3 sample.py --length 500

It needs no package but PyTorch, 1.13 or later. In a program:

    from model import load

    model, vocabulary = load()
    logits, state = model(ids)  # ids [B, T] -> logits [B, T, V]; pass state to continue

\`weights.safetensors\` is also a checkpoint: \`troupe sample --checkpoint weights.safetensors\` reads it.
`;

/** Classes of torch.nn that compute exactly what a cell does. PyTorch has no GRU that resets before the product. */
const MODULES: Readonly<Record<Cell, { readonly name: string; readonly options: string }>> = {
  lstm: { name: 'nn.LSTM', options: '' },
  gru: { name: 'ResetBeforeGRU', options: '' },
  'gru-reset-after': { name: 'nn.GRU', options: '' },
  'rnn-tanh': { name: 'nn.RNN', options: ', nonlinearity="tanh"' },
  'rnn-relu': { name: 'nn.RNN', options: ', nonlinearity="relu"' },
};

function modelScript(model: ModelConfig): string {
  const isStack = model.cell !== 'gru' && model.layerNorm !== true;
  return [
    header(model, isStack),
    ...(model.cell === 'gru' ? [RESET_BEFORE_GRU] : []),
    isStack ? stackedModel(model) : layeredModel(model),
    loader(model, isStack),
  ].join('\n\n');
}

function header({ hidden, layers, vocabulary, embedding = 0 }: ModelConfig, isStack: boolean): string {
  return `"""The model. load() gives it with its trained weights."""

import json
${isStack ? '' : 'import re\n'}from pathlib import Path

import torch
from torch import nn

VOCABULARY = ${vocabulary}
${embedding > 0 ? `EMBEDDING = ${embedding}\n` : ''}HIDDEN = ${hidden}
LAYERS = ${layers}
`;
}

const RESET_BEFORE_GRU = `class ResetBeforeGRU(nn.Module):
    """One layer of a GRU as in Cho et al. (2014): it resets the state before the matrix product.

    nn.GRU resets after the product, so it would compute something else with these weights.
    """

    def __init__(self, input_size, hidden_size, batch_first=True):
        super().__init__()
        self.weight_ih_l0 = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.weight_hh_l0 = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias_ih_l0 = nn.Parameter(torch.empty(3 * hidden_size))
        self.bias_hh_l0 = nn.Parameter(torch.empty(3 * hidden_size))

    def forward(self, x, state=None):
        """x [B, T, I] and state [1, B, H] -> outputs [B, T, H] and the state after them."""
        size = self.weight_hh_l0.shape[1]
        h = x.new_zeros(x.shape[0], size) if state is None else state[0]
        gates, candidate = self.weight_hh_l0.split([2 * size, size])
        from_input = x @ self.weight_ih_l0.T + self.bias_ih_l0 + self.bias_hh_l0
        outputs = []
        for a in from_input.unbind(1):
            r, z = torch.sigmoid(a[:, : 2 * size] + h @ gates.T).chunk(2, dim=1)
            n = torch.tanh(a[:, 2 * size :] + (r * h) @ candidate.T)
            h = (1 - z) * n + z * h
            outputs.append(h)
        return torch.stack(outputs, 1), h.unsqueeze(0)
`;

/** The model as one module of PyTorch with all layers. */
function stackedModel(model: ModelConfig): string {
  const { module } = CELL_SHAPES[model.cell];
  const { name, options } = MODULES[model.cell];
  const dropout = model.dropout && model.layers > 1 ? `, dropout=${model.dropout}` : '';
  return `class CharModel(nn.Module):
    def __init__(self):
        super().__init__()
${embeddingLine(model)}        self.${module} = ${name}(${inputSize(model)}, HIDDEN, LAYERS, batch_first=True${options}${dropout})
${outputLines(model)}
    def forward(self, ids, state=None):
        """ids [B, T] -> logits [B, T, V], and the state after the last character."""
        ${inputLine(model)}
        x, state = self.${module}(x, state)
        return ${linearOf(model)}, state
`;
}

/** The model layer by layer, because no module of PyTorch does what is between its layers. */
function layeredModel(model: ModelConfig): string {
  const { name, options } = MODULES[model.cell];
  const { layerNorm = false, dropout = 0, layers } = model;
  const drops = dropout > 0 && layers > 1;
  const norms = `        self.norms = nn.ModuleList(nn.LayerNorm(HIDDEN, eps=${LAYER_NORM_EPSILON}) for _ in range(LAYERS))\n`;
  return `class CharModel(nn.Module):
    def __init__(self):
        super().__init__()
${embeddingLine(model)}        sizes = [${inputSize(model)}] + [HIDDEN] * (LAYERS - 1)
        self.layers = nn.ModuleList(${name}(size, HIDDEN, batch_first=True${options}) for size in sizes)
${layerNorm ? norms : ''}${drops ? `        self.dropout = nn.Dropout(${dropout})\n` : ''}${outputLines(model)}
    def forward(self, ids, state=None):
        """ids [B, T] -> logits [B, T, V], and the state after the last character: a list, one for each layer."""
        ${inputLine(model)}
        states = state or [None] * LAYERS
        ends = []
        for k, layer in enumerate(self.layers):
            x, end = layer(x, states[k])
${layerNorm ? '            x = self.norms[k](x)\n' : ''}${drops ? '            if k < LAYERS - 1:\n                x = self.dropout(x)\n' : ''}            ends.append(end)
        return ${linearOf(model)}, ends
`;
}

const inputSize = ({ embedding = 0 }: ModelConfig): string => (embedding > 0 ? 'EMBEDDING' : 'VOCABULARY');

const embeddingLine = ({ embedding = 0 }: ModelConfig): string =>
  embedding > 0 ? '        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING)\n' : '';

const inputLine = ({ embedding = 0 }: ModelConfig): string =>
  embedding > 0 ? 'x = self.embedding(ids)' : 'x = nn.functional.one_hot(ids, VOCABULARY).to(self.linear.weight.dtype)';

const outputLines = ({ tied = false, dropoutOutput = 0 }: ModelConfig): string =>
  [
    dropoutOutput > 0 ? `        self.output_dropout = nn.Dropout(${dropoutOutput})\n` : '',
    '        self.linear = nn.Linear(HIDDEN, VOCABULARY)\n',
    tied ? '        self.linear.weight = self.embedding.weight\n' : '',
  ].join('');

const linearOf = ({ dropoutOutput = 0 }: ModelConfig): string =>
  dropoutOutput > 0 ? 'self.linear(self.output_dropout(x))' : 'self.linear(x)';

function loader({ cell }: ModelConfig, isStack: boolean): string {
  const { module } = CELL_SHAPES[cell];
  const rename = `    # The file names layer k as a module with all layers does: ${module}.weight_ih_l{k}.
    tensors = {re.sub(r"^${module}\\.(\\w+)_l(\\d+)$", r"layers.\\2.\\1_l0", name): values for name, values in tensors.items()}
`;
  return `def load(folder=Path(__file__).parent):
    """The trained model, ready to sample, and its vocabulary: the characters in the order of their ids."""
    folder = Path(folder)
    tensors = read_tensors(folder / "weights.safetensors")
${isStack ? '' : rename}    model = CharModel()
    model.load_state_dict(tensors)
    return model.eval(), json.loads((folder / "vocabulary.json").read_text("utf-8"))


def read_tensors(path):
    """The tensors of a safetensors file, like safetensors.torch.load_file, without that package."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    table = json.loads(data[8:start])
    table.pop("__metadata__")
    tensors = {}
    for name, entry in table.items():
        first, end = entry["data_offsets"]
        values = torch.frombuffer(bytearray(data[start + first : start + end]), dtype=torch.float32)
        tensors[name] = values.reshape(entry["shape"])
    return tensors
`;
}

const SAMPLE = `"""Writes text with the model."""

import argparse

import torch

from model import load


def sample(model, vocabulary, prime, length, temperature, top_k):
    """Yields characters, each drawn from softmax(logits / temperature) and fed back."""
    ids = torch.tensor([[vocabulary.index(character) for character in prime]])
    state = None
    for _ in range(length):
        logits, state = model(ids, state)
        logits = logits[0, -1]
        if top_k > 0:
            logits[logits < logits.topk(min(top_k, len(vocabulary))).values[-1]] = -torch.inf
        if temperature == 0:
            ids = logits.argmax().view(1, 1)
        else:
            ids = torch.multinomial(torch.softmax(logits / temperature, 0), 1).view(1, 1)
        yield vocabulary[ids.item()]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prime", default="", help="start of the text (default: a line break)")
    parser.add_argument("--length", type=int, default=500, help="characters to write")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 always takes the most likely character")
    parser.add_argument("--top-k", type=int, default=0, help="choose among the K most likely; 0 = all")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives another text")
    options = parser.parse_args()
    model, vocabulary = load()
    unknown = sorted(set(options.prime) - set(vocabulary))
    if unknown:
        parser.error(f"the model does not know the characters {unknown}")
    prime = options.prime or ("\\n" if "\\n" in vocabulary else vocabulary[0])
    torch.manual_seed(options.seed)
    print(options.prime, end="")
    with torch.no_grad():
        for character in sample(model, vocabulary, prime, options.length, options.temperature, options.top_k):
            print(character, end="", flush=True)
    print()


if __name__ == "__main__":
    main()
`;
