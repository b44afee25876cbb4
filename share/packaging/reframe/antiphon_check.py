# SPDX-License-Identifier: Apache-2.0
# ReFrame: is the antiphon of this system right, and as fast as it was?
#     reframe -c antiphon_check.py -r -S AntiphonBench.shape=llama-3.1-8b
import json

import reframe as rfm
import reframe.utility.sanity as sn


@rfm.simple_test
class AntiphonDoctor(rfm.RunOnlyRegressionTest):
    """What commonly goes wrong on a cluster, on two tasks."""

    valid_systems = ['*']
    valid_prog_environs = ['*']
    modules = ['antiphon']
    executable = 'antiphon'
    executable_opts = ['doctor']
    num_tasks = 2

    @run_before('run')
    def start_by_pmix(self):
        if self.job.launcher.registered_name == 'srun':
            self.job.launcher.options += ['--mpi=pmix']

    @sanity_function
    def nothing_fails(self):
        return sn.all([sn.assert_found(r'^OK +launcher .*2 ranks', self.stdout),
                       sn.assert_not_found(r'^FAIL', self.stdout)])


@rfm.simple_test
class AntiphonBench(rfm.RunOnlyRegressionTest):
    """Speed of a batch of random weights, so that no model is needed."""

    shape = variable(str, value='smollm2-135m')
    valid_systems = ['*']
    valid_prog_environs = ['*']
    modules = ['antiphon']
    executable = 'antiphon'
    num_tasks = 1

    @run_before('run')
    def set_options(self):
        self.executable_opts = ['bench', '--dummy', self.shape, '--work', 'batch', '--repeat', '1',
                                '--json', 'bench.json']

    @sanity_function
    def has_figures(self):
        return sn.assert_found('output_tokens_per_s', 'bench.json')

    @performance_function('tokens/s')
    def output_rate(self):
        with open(f'{self.stagedir}/bench.json') as file:
            return json.load(file)['workloads'][0]['median']['output_tokens_per_s']
