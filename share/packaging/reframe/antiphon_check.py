# SPDX-License-Identifier: Apache-2.0
# ReFrame: is the antiphon of this system right, and as fast as it was?
#     reframe -c antiphon_check.py -r -S model=/path/to/model.gguf
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

    @sanity_function
    def nothing_fails(self):
        return sn.all([sn.assert_eq(self.job.exitcode, 0), sn.assert_not_found('FAIL', self.stdout)])


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
        return sn.assert_eq(self.job.exitcode, 0)

    @performance_function('tokens/s')
    def output_rate(self):
        with open(f'{self.stagedir}/bench.json') as file:
            return json.load(file)['workloads'][0]['median']['output_tokens_per_s']
