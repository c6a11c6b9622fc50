// Door of cli, for the documents and tests: the help of every command, the messages of `analyze`, and what the
// demo does to a sandbox.
export { type CodeRow, codes as analysisCodes } from './analyze/codes.ts';
export { Applier, readManifests } from './apply.ts';
export { World, type RequestLoop } from './demo/world.ts';
export { renderHelp } from './help.ts';
export { renderChart } from './install/chart.ts';
export { defaultValues, readSource, renderObjects, type Source } from './install/render.ts';
export { readValues, type Values, valueTable } from './install/values.ts';
export { startDetached, stopSandbox } from './sandbox/up.ts';

/** Messages about YAML texts, as `CODE Kind namespace/name path`; their objects are looked at together. */
export async function analyzeTexts(texts: readonly string[]): Promise<string[]> {
  const [{ analyze }, { readObjects }, { Snapshot }] = await Promise.all([
    import('./analyze/analyze.ts'),
    import('./analyze/read.ts'),
    import('./analyze/snapshot.ts'),
  ]);
  const loaded = texts.flatMap((t, i) => readObjects(t, `text ${i}`, 'default').loaded);
  const settings = {
    clusterId: 'Kubernetes',
    trustDomain: 'cluster.local',
    clusterDomain: 'cluster.local',
    rootNamespace: 'istio-system',
    network: '',
  };
  return analyze(new Snapshot(loaded, settings)).map((m) => `${m.code} ${m.origin} ${m.path}`);
}
