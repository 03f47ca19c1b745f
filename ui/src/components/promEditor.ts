// The PromQL editor: CodeMirror with Prometheus' language support, loaded only by the pages that write queries.
import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap, startCompletion } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap, insertNewlineAndIndent } from '@codemirror/commands';
import { bracketMatching, HighlightStyle, syntaxHighlighting } from '@codemirror/language';
import { lintKeymap } from '@codemirror/lint';
import { EditorState, Prec } from '@codemirror/state';
import { EditorView, keymap, placeholder as ghost } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { PromQLExtension } from '@prometheus-io/codemirror-promql';

export interface Options {
  value: string;
  placeholder: string;
  label: string;
  /** Past queries, offered after the server's names. */
  past: () => readonly string[];
  onchange: (value: string) => void;
  onrun: () => void;
}
export interface Editor {
  set: (value: string) => void;
  focus: () => void;
  insert: (text: string) => void;
  destroy: () => void;
}

const theme = EditorView.theme({
  '&': { backgroundColor: 'transparent', color: 'var(--fg)', fontSize: '13px' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '20px' },
  '.cm-content': { padding: '8px 0', caretColor: 'var(--accent)' },
  '.cm-line': { padding: '0 12px' },
  '.cm-cursor': { borderLeftColor: 'var(--accent)' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': { backgroundColor: 'color-mix(in srgb, var(--accent) 30%, transparent)' },
  '.cm-placeholder': { color: 'var(--fg3)' },
  '.cm-matchingBracket, &.cm-focused .cm-matchingBracket': { backgroundColor: 'transparent', outline: '1px solid var(--fg3)' },
  '.cm-tooltip': { border: '1px solid var(--line)', borderRadius: '8px', backgroundColor: 'var(--panel)', color: 'var(--fg)', boxShadow: 'var(--shadow)', overflow: 'hidden' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul': { fontFamily: 'var(--mono)', fontSize: '12px', maxHeight: '280px', minWidth: '320px' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul > li': { padding: '3px 10px', color: 'var(--fg2)' },
  '.cm-tooltip-autocomplete ul li[aria-selected]': { backgroundColor: 'var(--accent-soft)', color: 'var(--fg)' },
  '.cm-completionMatchedText': { textDecoration: 'none', color: 'var(--accent)' },
  '.cm-completionDetail': { fontStyle: 'normal', color: 'var(--fg3)', float: 'right', marginLeft: '16px' },
  '.cm-completionInfo': { padding: '8px 10px', maxWidth: '320px', fontFamily: 'var(--sans)', fontSize: '12px' },
  '.cm-completionIcon': { display: 'none' },
  '.cm-diagnostic': { padding: '6px 10px', fontFamily: 'var(--sans)', borderLeft: '3px solid var(--critical)' },
});
const colors = HighlightStyle.define([
  { tag: [tags.name, tags.variableName], color: 'var(--fg)' },
  { tag: [tags.labelName], color: 'var(--s1)' },
  { tag: tags.string, color: 'var(--s3)' },
  { tag: [tags.number, tags.literal], color: 'var(--code-number)' },
  { tag: [tags.keyword, tags.modifier, tags.operatorKeyword], color: 'var(--s5)' },
  { tag: tags.function(tags.variableName), color: 'var(--accent)' },
  { tag: tags.operator, color: 'var(--fg2)' },
  { tag: tags.comment, color: 'var(--fg3)', fontStyle: 'italic' },
  { tag: tags.invalid, color: 'var(--critical-text)' },
]);

export function mountEditor(parent: HTMLElement, options: Options): Editor {
  const promql = new PromQLExtension().setComplete({ remote: { url: '', httpMethod: 'GET', cache: { maxAge: 60_000 } } });
  const view: EditorView = new EditorView({
    parent,
    state: EditorState.create({
      doc: options.value,
      extensions: [
        history(),
        closeBrackets(),
        bracketMatching(),
        autocompletion({ selectOnOpen: true, icons: false, maxRenderedOptions: 60 }),
        promql.asExtension(),
        EditorState.languageData.of(() => [
          {
            autocomplete: (context: { explicit: boolean; pos: number; state: EditorState }) =>
              context.state.doc.length > 0
                ? null
                : context.explicit
                  ? { from: 0, to: context.pos, options: options.past().slice(0, 20).map((label) => ({ label, detail: 'past' })), filter: false }
                  : null,
          },
        ]),
        syntaxHighlighting(colors),
        theme,
        EditorView.lineWrapping,
        ghost(options.placeholder),
        EditorView.contentAttributes.of({ 'aria-label': options.label, 'aria-multiline': 'true' }),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) options.onchange(update.state.doc.toString());
        }),
        // Completion takes Enter first while its list is open; a bare Enter runs, with Shift it breaks the line.
        keymap.of([...closeBracketsKeymap, ...completionKeymap]),
        Prec.high(
          keymap.of([
            { key: 'Mod-Enter', run: () => (options.onrun(), true) },
            { key: 'Shift-Enter', run: insertNewlineAndIndent },
          ]),
        ),
        keymap.of([{ key: 'Enter', run: () => (options.onrun(), true) }, ...defaultKeymap, ...historyKeymap, ...lintKeymap]),
      ],
    }),
  });
  return {
    set: (value) => {
      if (value !== view.state.doc.toString()) view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: value } });
    },
    focus: () => view.focus(),
    insert: (text) => {
      const { from, to } = view.state.selection.main;
      view.dispatch({ changes: { from, to, insert: text }, selection: { anchor: from + text.length } });
      view.focus();
      startCompletion(view);
    },
    destroy: () => view.destroy(),
  };
}
