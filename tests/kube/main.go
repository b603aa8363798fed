// Command kube is the Kubernetes of the tests in one file: etcd, kube-apiserver, kube-controller-manager, kubectl and
// helm, each started by the name that the file is called by, or by the first argument.
//
// One binary, since they share most of their code: five would take several times as long to link, and as much space.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdmain"
	helm "helm.sh/helm/v4/pkg/cmd"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	name := filepath.Base(os.Args[0])
	if !run(name) && len(os.Args) > 1 {
		// Each part looks for its name and its arguments where a program's own are.
		os.Args = os.Args[1:]
		name = os.Args[0]
		run(name)
	}
	fmt.Fprintf(os.Stderr, "no part is called %q: etcd, kube-apiserver, kube-controller-manager, kubectl or helm\n", name)
	os.Exit(2)
}

// run ends the process with the part's own code; it returns only where there is no part of that name.
func run(name string) bool {
	switch name {
	case "etcd":
		etcdmain.Main(os.Args)
		os.Exit(0)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	case "kubectl":
		// Says what failed as kubectl does, with the code that it has for it.
		util.CheckErr(cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()))
		os.Exit(0)
	case "helm":
		os.Exit(runHelm())
	}
	return false
}

func runHelm() int {
	command, err := helm.NewRootCmd(os.Stdout, os.Args[1:], helm.SetupLogging)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// It prints its own errors.
	err = command.Execute()
	var code helm.CommandError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return code.ExitCode
	default:
		return 1
	}
}
